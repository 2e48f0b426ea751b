from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from studio_worker.config import BadSetting, Config
from studio_worker.config.model import setting_fields
from studio_worker.errors import ConfigError

DEFAULTS: dict[str, Any] = {
    "api_base_url": "https://studio.minis.gg/",
    "vram_threshold_gb": 12.0,
    "models_root": Path("~/models"),
    "ws_reconnect_attempts": 0,
    "auto_start": False,
    "auto_update_enabled": True,
    "auto_update_interval_secs": 1800.0,
    "auto_update_feed": None,
    "auto_update_prerelease": False,
    "local_api_port": 4787,
    "stream_port": None,
    "state_dir": None,
    "machine_name": None,
    "share_identity": True,
    "register_poll_secs": 30.0,
    "reconnect_base_secs": 1.0,
    "max_concurrent_jobs": 1,
    "drain_timeout_secs": 30.0,
    "engine_idle_secs": 300.0,
    "disabled_engines": (),
    "pinned_models": (),
    "engine_preferences": {},
    "engine_environments": {},
    "require_certified_engines": False,
    "device": None,
    "allow_private_urls": False,
    "models_quota_gb": None,
    "models_offline": False,
    "model_mirrors": {},
    "hf_token": None,
    "plugins": {},
}


def test_the_defaults_are_those_of_the_design() -> None:
    config = Config()
    assert {key: getattr(config, key) for key in setting_fields()} == DEFAULTS


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in setting_fields().values())


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().max_concurrent_jobs = 2  # type: ignore[misc]  # what must be refused


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("vram_threshold_gb", float("nan"), "a number of GB from 0 to 1000000 (got nan)"),
        ("vram_threshold_gb", float("inf"), "(got inf)"),
        ("vram_threshold_gb", -1, "(got -1)"),
        ("vram_threshold_gb", True, "(got true)"),
        ("local_api_port", 70_000, "a whole number from 0 to 65535 (got 70000)"),
        ("local_api_port", "4787x", "(got text)"),
        ("local_api_port", 4787.0, "(got 4787.0)"),
        ("stream_port", -1, "a whole number from 0 to 65535"),
        ("drain_timeout_secs", True, "a number of seconds above 0, up to 1e9 (got true)"),
        ("drain_timeout_secs", "30", "(got text)"),
        ("drain_timeout_secs", 0, "above 0"),
        ("register_poll_secs", -0.5, "above 0"),
        ("engine_idle_secs", 1e10, "up to 1e9"),
        ("max_concurrent_jobs", 0, "a whole number from 1 to 1024 (got 0)"),
        ("max_concurrent_jobs", 1025, "(got 1025)"),
        ("ws_reconnect_attempts", -1, "from 0 (for ever)"),
        ("ws_reconnect_attempts", 10**60, "a number of many digits"),
        ("models_quota_gb", -1, "a number of GB from 0"),
        ("auto_start", 1, "true or false (got 1)"),
        ("share_identity", "yes", "true or false (got text)"),
        ("disabled_engines", "llama", "a list of names (got text)"),
        ("pinned_models", "org/m", "a list of names (got text)"),
        ("disabled_engines", [1], "a list of names (got 1)"),
        ("engine_preferences", [], "a table of names"),
        ("engine_preferences", {"onnx": 3}, "a table of names"),
        ("engine_environments", {"lama": 3}, "a table of paths"),
        ("engine_environments", "/opt/lama", "a table of paths"),
        ("model_mirrors", {"hub.example": 3}, "a table of addresses, one or a list for each host"),
        ("model_mirrors", {"hub.example": []}, "a table of addresses, one or a list for each host"),
        ("plugins", {"piper": 3}, "tables"),
        ("machine_name", "x" * 1_025, "at most 1024 characters"),
        ("models_root", 3, "a folder's path (got 3)"),
        ("models_root", "", "a folder's path"),
        ("api_base_url", 5, "an http(s) URL"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_by_key_with_what_is_allowed(
    key: str, value: Any, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{key: value})
    assert str(caught.value).startswith(f"{key} must be ")
    assert said in str(caught.value)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("https://mirror.example/hf", ("https://mirror.example/hf",)),
        (["http://10.0.0.2:8080", "https://hub.example"], ("http://10.0.0.2:8080", "https://hub.example")),
    ],
)
def test_a_host_has_one_mirror_or_several_in_order(given: Any, asked: tuple[str, ...]) -> None:
    assert Config(model_mirrors={"hub.example": given}).model_mirrors == {"hub.example": asked}


@pytest.mark.parametrize(
    "address",
    ["mirror", "ftp://m.example", "https://u:hunter2@m.example", "https://m.example?a=1", "https://", "http://["],
)
def test_a_mirror_that_is_no_address_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^model_mirrors\.hub\.example\.0 must be an http\(s\) address") as caught:
        Config(model_mirrors={"hub.example": [address]})
    assert "hunter2" not in str(caught.value)


def test_a_whole_number_is_a_number_of_seconds() -> None:
    assert Config(drain_timeout_secs=5).drain_timeout_secs == 5.0


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "javascript:1", "https://user:hunter2@h/", "http://", "https://h/\r\nX: y", "", "https://h:99999/"],
)
def test_a_studio_address_that_is_no_http_url_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(BadSetting) as caught:
        Config(api_base_url=address)
    assert caught.value.key == "api_base_url"
    assert "hunter2" not in str(caught.value)
    assert "user" not in str(caught.value).replace("user name", "")


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ConfigError, match="models_root holds a NUL"):
        Config(models_root="a\0b")


def test_a_machine_name_with_a_line_break_is_refused() -> None:
    with pytest.raises(ConfigError, match="machine_name must be text without line breaks"):
        Config(machine_name="a\nb")


def test_a_token_that_could_forge_a_header_is_refused_unseen() -> None:
    with pytest.raises(ConfigError, match="hf_token must be printable ASCII") as caught:
        Config(hf_token="hunter2\r\nX: y")
    assert "hunter2" not in str(caught.value)


def test_a_plugin_table_that_json_cannot_carry_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"plugins\.piper holds a number that is not finite"):
        Config(plugins={"piper": {"speed": float("nan")}})


def test_a_misspelt_argument_is_refused() -> None:
    with pytest.raises(ConfigError, match="modles_root is no setting"):
        Config(modles_root="x")


def test_the_token_is_hidden_in_every_representation() -> None:
    config = Config(hf_token="hunter2")
    assert "hunter2" not in repr(config) + str(config) + config.model_dump_json()


def test_without_a_studio_its_routes_are_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match="api_base_url is not set"):
        _ = Config(api_base_url=None).urls


def test_the_studios_routes_come_from_its_address() -> None:
    assert Config(api_base_url="http://127.0.0.1:8787").urls.api == "http://127.0.0.1:8787/graphics/api"


def test_paths_are_expanded_by_the_users_home(environ: dict[str, str], tmp_path: Path) -> None:
    config = Config.load(tmp_path / "none.toml", environ | {"STUDIO_WORKER_STATE_DIR": "~/state"})
    assert config.models_path == tmp_path / "models"
    assert config.state_path == tmp_path / "state"


def test_without_a_state_dir_the_users_state_folder_is_used(environ: dict[str, str], tmp_path: Path) -> None:
    config = Config.load(tmp_path / "none.toml", environ | {"XDG_STATE_HOME": str(tmp_path / "xdg")})
    assert config.state_path == tmp_path / "xdg" / "minis-studio-worker"


def test_a_relative_models_folder_is_one_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Config(models_root="models").models_path == tmp_path / "models"


@pytest.mark.parametrize(("given", "size"), [(None, None), (0.0, 0), (1.5, 1_500_000_000)])
def test_the_quota_of_models_is_counted_in_bytes(given: float | None, size: int | None) -> None:
    assert Config(models_quota_gb=given).models_quota_bytes == size


def test_a_path_object_and_text_are_the_same_folder() -> None:
    assert Config(models_root="/m").models_root == Config(models_root=Path("/m")).models_root


def test_constructing_reads_neither_file_nor_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("max_concurrent_jobs = 4")
    monkeypatch.setenv("STUDIO_WORKER_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("STUDIO_WORKER_MAX_CONCURRENT_JOBS", "7")
    assert Config().max_concurrent_jobs == 1
