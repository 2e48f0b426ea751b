"""Where the worker keeps its files on each system. Pure rules over an environment: nothing is read or made."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio_worker.errors import ConfigError

APP = "minis-studio-worker"
"""The folders' name, shared with the older worker so that an installed machine goes on with its own settings."""

CONFIG_VARIABLE = "STUDIO_WORKER_CONFIG"
"""The environment variable that names another config file."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files and folders of one user on one machine.

    Attributes:
        home: what ``~`` stands for.
        config_file: the operator's settings; on macOS and Windows where the older worker kept them.
        state_dir: what the worker itself remembers: credentials, lock, journal, spool.
    """

    home: Path
    config_file: Path
    state_dir: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> Places:
        """The places of the user whose environment this is.

        Args:
            environ: the environment, the process's own by default. ``XDG_CONFIG_HOME`` and ``XDG_STATE_HOME`` count
                where they are absolute, as the XDG base directory specification asks.
            platform: a value of `sys.platform`.

        Raises:
            ConfigError: the user has no home folder.
        """
        environ = os.environ if environ is None else environ
        home = _home(environ, platform)
        if platform == "win32":
            roaming = _absolute(environ.get("APPDATA")) or home / "AppData" / "Roaming"
            local = _absolute(environ.get("LOCALAPPDATA")) or home / "AppData" / "Local"
            config, state = roaming / "minis" / APP / "config", local / "minis" / APP
        elif platform == "darwin":
            library = home / "Library" / "Application Support"
            config, state = library / f"gg.minis.{APP}", library / APP
        else:
            config = (_absolute(environ.get("XDG_CONFIG_HOME")) or home / ".config") / APP
            state = (_absolute(environ.get("XDG_STATE_HOME")) or home / ".local" / "state") / APP
        return cls(home=home, config_file=config / "config.toml", state_dir=state)

    def expand(self, path: Path) -> Path:
        """`path` with a leading ``~`` replaced by the home folder."""
        parts = path.parts
        return self.home.joinpath(*parts[1:]) if parts and parts[0] == "~" else path


def chosen_config_file(path: Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """The config file in force: the one given, else the one that `STUDIO_WORKER_CONFIG` names, else the user's own."""
    environ = os.environ if environ is None else environ
    if path is None and (named := environ.get(CONFIG_VARIABLE)):
        path = Path(named)
    if path is None:
        return Places.of(environ).config_file
    return Places.of(environ).expand(path) if path.parts[:1] == ("~",) else path


def discovery_file(config_file: Path) -> Path:
    """Where a running worker says how to reach its local API: beside the config file."""
    return config_file.parent / "local-api.json"


def _absolute(text: str | None) -> Path | None:
    path = Path(text) if text else None
    return path if path is not None and path.is_absolute() else None


def _home(environ: Mapping[str, str], platform: str) -> Path:
    named = _absolute(environ.get("USERPROFILE" if platform == "win32" else "HOME"))
    if named is not None:
        return named
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError(
            "this user has no home folder: set HOME, or name a config file by --config and a state_dir in it"
        ) from None
