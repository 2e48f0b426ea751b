from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.config import Config
from studio_worker.config.loading import gather
from studio_worker.config.model import setting_fields
from studio_worker.errors import ConfigError

Write = Callable[[str | bytes], Path]
Records = list[dict[str, Any]]


def test_a_file_wins_over_the_defaults(write: Write, environ: dict[str, str]) -> None:
    assert Config.load(write("max_concurrent_jobs = 3"), environ).max_concurrent_jobs == 3


def test_the_environment_wins_over_the_file(write: Write, environ: dict[str, str]) -> None:
    environ["STUDIO_WORKER_MAX_CONCURRENT_JOBS"] = "5"
    assert Config.load(write("max_concurrent_jobs = 3"), environ).max_concurrent_jobs == 5


def test_an_empty_variable_counts_as_not_set(write: Write, environ: dict[str, str]) -> None:
    environ["STUDIO_WORKER_MAX_CONCURRENT_JOBS"] = ""
    assert Config.load(write("max_concurrent_jobs = 3"), environ).max_concurrent_jobs == 3


def test_without_a_path_the_variable_names_the_file(write: Write, environ: dict[str, str]) -> None:
    environ["STUDIO_WORKER_CONFIG"] = str(write("max_concurrent_jobs = 3"))
    assert Config.load(None, environ).max_concurrent_jobs == 3


def test_a_path_wins_over_the_variable(write: Write, environ: dict[str, str], tmp_path: Path) -> None:
    environ["STUDIO_WORKER_CONFIG"] = str(write("max_concurrent_jobs = 3"))
    other = tmp_path / "other.toml"
    other.write_text("max_concurrent_jobs = 4")
    assert Config.load(other, environ).max_concurrent_jobs == 4


def test_without_either_it_is_the_users_own_file(environ: dict[str, str], tmp_path: Path) -> None:
    own = tmp_path / ".config" / "minis-studio-worker" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("max_concurrent_jobs = 6")
    config = Config.load(None, environ)
    assert (config.max_concurrent_jobs, config.config_path) == (6, own)


def test_a_missing_file_is_not_made_and_the_defaults_are_announced(
    config_file: Path, environ: dict[str, str], records: Records
) -> None:
    assert Config.load(config_file, environ).max_concurrent_jobs == 1
    assert not config_file.exists()
    assert [record["event"] for record in records] == ["config.missing"]
    assert records[0]["file"] == str(config_file)


def test_a_missing_file_is_a_warning_where_it_was_named(config_file: Path, environ: dict[str, str]) -> None:
    def is_warning(path: Path | None, **more: str) -> list[bool]:
        return [notice.is_warning for notice in gather(setting_fields(), path, environ | more).notices]

    assert is_warning(config_file) == is_warning(None, STUDIO_WORKER_CONFIG=str(config_file)) == [True]
    assert is_warning(None) == [False]


def test_a_bad_value_is_blamed_on_file_and_line(write: Write, environ: dict[str, str]) -> None:
    path = write("# mine\n\nvram_threshold_gb = nan\n")
    with pytest.raises(ConfigError) as caught:
        Config.load(path, environ)
    assert str(caught.value).startswith(f"{path}, line 3: vram_threshold_gb must be a number of GB")
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "line",
    [
        "vram_threshold_gb = inf",
        "vram_threshold_gb = -1",
        "local_api_port = 70000",
        'local_api_port = "4787x"',
        "drain_timeout_secs = true",
        'drain_timeout_secs = "30"',
        'api_base_url = "ftp://x"',
        "models_root = 3",
    ],
)
def test_each_bad_value_of_the_catalogue_is_refused_by_key(line: str, write: Write, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=line.partition(" ")[0]):
        Config.load(write(line), environ)


def test_a_bad_value_inside_a_table_is_blamed_on_the_tables_line(write: Write, environ: dict[str, str]) -> None:
    path = write("auto_start = true\n[plugins.piper]\nspeed = nan\n")
    with pytest.raises(ConfigError, match=r"line 2: plugins\.piper holds a number that is not finite"):
        Config.load(path, environ)


def test_a_value_of_the_environment_out_of_range_is_blamed_on_its_variable(
    write: Write, environ: dict[str, str]
) -> None:
    environ["STUDIO_WORKER_MAX_CONCURRENT_JOBS"] = "0"
    with pytest.raises(ConfigError, match=r"^STUDIO_WORKER_MAX_CONCURRENT_JOBS must be a whole number from 1 to 1024"):
        Config.load(write("max_concurrent_jobs = 3"), environ)


def test_a_password_in_an_address_is_never_shown(write: Write, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must not hold a user name or password") as caught:
        Config.load(write('api_base_url = "https://me:hunter2@studio.example/"'), environ)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_key_warns_with_the_nearest_known_one(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    Config.load(write('modles_root = "/m"'), environ)
    (warning,) = records
    assert (warning["event"], warning["key"], warning["meant"]) == ("config.unknown_key", "modles_root", "models_root")
    assert warning["level"] == "WARNING"


def test_an_unknown_key_that_is_near_nothing_warns_alone(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    Config.load(write("zzzzqqqq = 1"), environ)
    assert "meant" not in records[0]


def test_text_from_the_file_is_never_part_of_a_log_message(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    Config.load(write('"{job[0]}" = 1\n"[/nope]" = 2'), environ)
    assert [record["key"] for record in records] == ["{job[0]}", "[/nope]"]
    assert not any("nope" in record["message"] or "job" in record["message"] for record in records)


@pytest.mark.parametrize(
    "key",
    [
        "worker_id",
        "auth_token",
        "install_id",
        "registration_request_id",
        "registration_secret",
        "local_api_token",
        "engine",
        "label",
        "bootstrap_token",
        "gradio_endpoint_url",
        "start_minimised",
        "only_when_idle",
    ],
)
def test_keys_of_the_older_worker_are_no_reason_for_a_warning(
    key: str, write: Write, environ: dict[str, str], records: Records
) -> None:
    Config.load(write(f'{key} = "x"'), environ)
    assert records == []


def test_the_older_release_feed_is_ignored_with_one_notice(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    Config.load(write('auto_update_feed = "https://api.example/releases"'), environ)
    assert [record["event"] for record in records] == ["config.update_feed_ignored"]


def test_a_variable_that_nearly_is_a_setting_warns(write: Write, environ: dict[str, str], records: Records) -> None:
    environ["STUDIO_WORKER_MODLES_ROOT"] = "/m"
    Config.load(write(""), environ)
    assert [(record["variable"], record["meant"]) for record in records] == [
        ("STUDIO_WORKER_MODLES_ROOT", "STUDIO_WORKER_MODELS_ROOT")
    ]


@pytest.mark.parametrize("name", ["STUDIO_WORKER_CONFIG", "STUDIO_WORKER_ADMIN_TOKEN", "STUDIO_WORKER_SD_CLI"])
def test_a_variable_with_another_meaning_does_not_warn(
    name: str, write: Write, environ: dict[str, str], records: Records
) -> None:
    Config.load(write(""), environ | {name: "x"})
    assert records == []


def test_a_whole_installed_file_of_the_older_worker_is_understood(
    write: Write, environ: dict[str, str], records: Records
) -> None:
    config = Config.load(
        write(
            """
api_base_url = "https://studio.minis.gg/"
worker_id = "w-1"
auth_token = "secret"
vram_threshold_gb = 8.0
auto_start = true
start_minimised = true
auto_update_enabled = true
auto_update_interval_secs = 1800
auto_update_feed = "https://api.example/releases"
auto_update_prerelease = false
models_root = "~/models"
local_api_port = 4788
local_api_token = "secret"
install_id = "00000000-0000-0000-0000-000000000000"
"""
        ),
        environ,
    )
    assert (config.vram_threshold_gb, config.local_api_port, config.auto_start) == (8.0, 4788, True)
    assert [record["level"] for record in records] == ["INFO"]


class TestTheVariableOfHuggingFace:
    def test_serves_where_ours_is_not_set(self, tmp_path: Path) -> None:
        config = Config.load(tmp_path / "config.toml", {"HF_TOKEN": "hf_theirs"})
        assert config.hf_token is not None
        assert config.hf_token.get_secret_value() == "hf_theirs"

    def test_gives_way_to_ours(self, tmp_path: Path) -> None:
        config = Config.load(tmp_path / "config.toml", {"HF_TOKEN": "theirs", "STUDIO_WORKER_HF_TOKEN": "ours"})
        assert config.hf_token is not None
        assert config.hf_token.get_secret_value() == "ours"

    def test_is_named_where_it_cannot_be_used(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"STUDIO_WORKER_HF_TOKEN or HF_TOKEN must be printable ASCII"):
            Config.load(tmp_path / "config.toml", {"HF_TOKEN": "a b"})


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ('hf_token = "hf_x"', ["config.readable"]),
        ('[plugins.hog]\napi_key = "k"', ["config.readable"]),
        ('auth_token = "t"', ["config.readable"]),
        ("max_concurrent_jobs = 2", []),
        ("[plugins.hog]\ntokens = 3", []),
        ('[plugins.hog]\nmonkey = "m"', []),
    ],
)
def test_a_file_that_others_can_read_is_a_warning_where_it_holds_secrets(
    write: Write, environ: dict[str, str], records: Records, text: str, events: list[str]
) -> None:
    path = write(text)
    path.chmod(0o644)
    Config.load(path, environ)
    path.chmod(0o600)
    Config.load(path, environ)
    assert [record["event"] for record in records] == events
    assert {record["file"] for record in records} <= {str(path)}
