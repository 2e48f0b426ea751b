from __future__ import annotations

from pathlib import Path

import pytest

from studio_worker.places import Places, chosen_config_file, discovery_file

HOME = {"HOME": "/home/kim"}


def test_linux_follows_the_home_folder() -> None:
    places = Places.of(HOME, "linux")
    assert places.config_file == Path("/home/kim/.config/minis-studio-worker/config.toml")
    assert places.state_dir == Path("/home/kim/.local/state/minis-studio-worker")


def test_linux_honours_the_xdg_variables() -> None:
    places = Places.of(HOME | {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"}, "linux")
    assert places.config_file == Path("/c/minis-studio-worker/config.toml")
    assert places.state_dir == Path("/s/minis-studio-worker")


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_an_xdg_variable_that_is_not_absolute_does_not_count(value: str) -> None:
    assert Places.of(HOME | {"XDG_CONFIG_HOME": value}, "linux") == Places.of(HOME, "linux")


def test_macos_keeps_the_older_workers_config_path() -> None:
    places = Places.of(HOME, "darwin")
    support = Path("/home/kim/Library/Application Support")
    assert places.config_file == support / "gg.minis.minis-studio-worker" / "config.toml"
    assert places.state_dir == support / "minis-studio-worker"


def test_windows_keeps_the_older_workers_config_path() -> None:
    environ = {"USERPROFILE": "/u/kim", "APPDATA": "/u/kim/roaming", "LOCALAPPDATA": "/u/kim/local"}
    places = Places.of(environ, "win32")
    assert places.config_file == Path("/u/kim/roaming/minis/minis-studio-worker/config/config.toml")
    assert places.state_dir == Path("/u/kim/local/minis/minis-studio-worker")


def test_windows_without_its_variables_uses_the_profile() -> None:
    places = Places.of({"USERPROFILE": "/u/kim"}, "win32")
    assert places.config_file == Path("/u/kim/AppData/Roaming/minis/minis-studio-worker/config/config.toml")


def test_without_a_home_variable_the_user_database_is_asked() -> None:
    assert Places.of({}, "linux").home.is_absolute()


def test_only_a_leading_tilde_is_expanded() -> None:
    places = Places.of(HOME, "linux")
    assert places.expand(Path("~/models")) == Path("/home/kim/models")
    assert places.expand(Path("~")) == Path("/home/kim")
    assert places.expand(Path("a/~/b")) == Path("a/~/b")


def test_the_discovery_file_lies_beside_the_config_file() -> None:
    assert discovery_file(Path("/etc/w/config.toml")) == Path("/etc/w/local-api.json")


def test_the_config_file_is_the_one_given_then_the_variables_then_the_users() -> None:
    environ = HOME | {"STUDIO_WORKER_CONFIG": "/v.toml"}
    assert chosen_config_file(Path("/g.toml"), environ) == Path("/g.toml")
    assert chosen_config_file(None, environ) == Path("/v.toml")
    assert chosen_config_file(None, HOME) == Places.of(HOME).config_file


def test_a_tilde_in_the_variable_is_expanded() -> None:
    environ = HOME | {"STUDIO_WORKER_CONFIG": "~/w.toml"}
    assert chosen_config_file(None, environ) == Path("/home/kim/w.toml")
