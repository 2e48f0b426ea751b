from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from studio_worker.cli.config import masked

Call = Callable[..., Any]


def test_bare_config_shows_every_setting_and_where_it_comes_from(
    cli: Call, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text("max_concurrent_jobs = 3\n")
    monkeypatch.setenv("STUDIO_WORKER_DEVICE", "cpu")
    outcome = cli("config")
    lines = {line.split()[0]: line.split()[1:] for line in outcome.out.splitlines()}
    assert lines["max_concurrent_jobs"] == ["3", "file"]
    assert lines["device"] == ["cpu", "environment"]
    assert lines["auto_start"] == ["false", "default"]
    assert str(config_file) in outcome.err


def test_as_json_it_is_one_object_by_key(cli: Call, config_file: Path) -> None:
    config_file.write_text('disabled_engines = ["a"]\n')
    found = json.loads(cli("config", "--json").out)
    assert found["path"] == str(config_file)
    assert found["settings"]["disabled_engines"] == {"value": ["a"], "origin": "file"}
    assert found["settings"]["models_root"] == {"value": "~/models", "origin": "default"}


def test_secrets_are_stars_everywhere(cli: Call, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file.write_text(
        'auth_token = "hunter2"\nauto_update_feed = "https://me:hunter2@h/"\n'
        '[plugins.x]\napi_key = "hunter2"\ndeep = {password = "hunter2"}\n'
    )
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hunter2")
    for args in (["config"], ["config", "--json"], ["config", "get", "hf_token"], ["config", "get", "plugins"]):
        outcome = cli(*args)
        assert "hunter2" not in outcome.out + outcome.err
        assert "***" in outcome.out


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("hf_token", SecretStr("x"), "***"),
        ("hf_token", None, None),
        ("plugins.x.api_key", "x", "***"),
        ("plugins", {"x": {"Secret": "y", "n": 1}}, {"x": {"Secret": "***", "n": 1}}),
        ("models_root", Path("/m"), "/m"),
        ("disabled_engines", ("a", "b"), ["a", "b"]),
        ("auto_update_feed", "https://u:p@h/", "***"),
        ("auto_update_feed", "https://[", "***"),
        ("machine_name", "a@b", "a@b"),
    ],
)
def test_what_is_masked(key: str, value: object, shown: object) -> None:
    assert masked(key, value) == shown


def test_get_prints_the_value_alone(cli: Call, config_file: Path) -> None:
    config_file.write_text('device = "cuda:0"\nauto_start = true\n[plugins.x]\na = [1]\n')
    assert cli("config", "get", "device").out == "cuda:0\n"
    assert cli("config", "get", "auto_start").out == "true\n"
    assert cli("config", "get", "plugins.x").out == '{"a": [1]}\n'
    assert cli("config", "get", "machine_name").out == ""
    assert json.loads(cli("config", "get", "machine_name", "--json").out) is None


def test_get_of_an_unknown_setting_is_a_usage_error_with_the_nearest(cli: Call) -> None:
    outcome = cli("config", "get", "modles_root")
    assert outcome.status == 2
    assert "modles_root is no setting; models_root is one" in outcome.err


def test_set_writes_the_file_and_says_so(cli: Call, config_file: Path) -> None:
    config_file.write_text("# mine\nmax_concurrent_jobs = 1\n")
    outcome = cli("config", "set", "max_concurrent_jobs", "2", "--json")
    assert (outcome.status, json.loads(outcome.out)) == (0, 2)
    assert config_file.read_text() == "# mine\nmax_concurrent_jobs = 2\n"


def test_set_with_an_empty_value_removes_the_setting(cli: Call, config_file: Path) -> None:
    config_file.write_text('device = "cpu"\n')
    assert "device is removed" in cli("config", "set", "device", "").err
    assert config_file.read_text() == ""


def test_set_takes_a_value_that_starts_with_a_dash(cli: Call, config_file: Path) -> None:
    outcome = cli("config", "set", "ws_reconnect_attempts", "-1")
    assert outcome.status == 2
    assert "ws_reconnect_attempts must be a whole number" in outcome.err


def test_set_reads_a_secret_from_stdin(cli: Call, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hf_0123456789\r\n"))
    said = cli("config", "set", "hf_token", "-")
    assert said.status == 0
    assert "hf_0123456789" not in said.out + said.err
    assert config_file.read_text().endswith('hf_token = "hf_0123456789"\n')


def test_set_of_an_empty_stdin_changes_nothing(cli: Call, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file.write_text('hf_token = "hf_0123456789"\n')
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    said = cli("config", "set", "hf_token", "-")
    assert said.status == 2
    assert "stdin holds no line" in said.err
    assert config_file.read_text() == 'hf_token = "hf_0123456789"\n'


def test_set_says_when_the_environment_wins(cli: Call, config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_WORKER_DEVICE", "cpu")
    assert "STUDIO_WORKER_DEVICE is set and wins" in cli("config", "set", "device", "cuda:0").err


def test_set_on_a_read_only_file_explains(cli: Call, config_file: Path) -> None:
    config_file.write_text("")
    config_file.chmod(0o444)
    outcome = cli("config", "set", "device", "cpu")
    assert outcome.status == 78
    assert "is read-only (mode 0444), so nothing was changed" in outcome.err


def test_path_prints_where_the_file_is_even_if_it_is_broken(cli: Call, config_file: Path) -> None:
    config_file.write_text("[[[")
    assert cli("config", "path").out == f"{config_file}\n"
    assert json.loads(cli("config", "path", "--json").out) == {"path": str(config_file), "exists": True}


def test_the_option_and_the_variable_name_another_file(cli: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_WORKER_CONFIG", str(home / "v.toml"))
    assert cli("config", "path").out == f"{home}/v.toml\n"
    assert cli("--config", str(home / "o.toml"), "config", "path").out == f"{home}/o.toml\n"


def test_an_unknown_key_warns_on_stderr_with_the_nearest(cli: Call, config_file: Path) -> None:
    config_file.write_text('modles_root = "/m"\n')
    outcome = cli("config", "--json")
    assert "models_root" in outcome.err
    assert "modles_root" in outcome.err
    json.loads(outcome.out)


def test_a_bad_variable_exits_78_naming_it(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_WORKER_MAX_CONCURRENT_JOBS", "١٢")
    outcome = cli("config")
    assert outcome.status == 78
    assert outcome.err.startswith("studio-worker: STUDIO_WORKER_MAX_CONCURRENT_JOBS must be a whole number")


@pytest.mark.parametrize("gb", ["10.5", "0", "8"])
def test_set_threshold_writes_and_prints_it(gb: str, cli: Call, config_file: Path) -> None:
    outcome = cli("set-threshold", gb)
    assert (outcome.status, outcome.out) == (0, f"vram_threshold_gb = {float(gb)}\n")
    assert f"vram_threshold_gb = {float(gb)}" in config_file.read_text()


def test_set_threshold_as_json(cli: Call, config_file: Path) -> None:
    assert json.loads(cli("set-threshold", "9", "--json").out) == {"vram_threshold_gb": 9.0}


@pytest.mark.parametrize("gb", ["NaN", "inf", "-1", "-0.5", "many", "", "١٢", "1e400"])
def test_set_threshold_refuses_what_is_no_amount(gb: str, cli: Call, config_file: Path) -> None:
    outcome = cli("set-threshold", gb)
    assert (outcome.status, outcome.out) == (2, "")
    assert "must be a number of GB from 0" in outcome.err
    assert not config_file.exists()
