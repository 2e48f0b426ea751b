"""The older worker's credentials, which lie in its config.toml among the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from studio_worker.config.edit import write_edit
from studio_worker.config.model import DEFAULT_STUDIO
from studio_worker.config.toml_file import read_toml, shown
from studio_worker.errors import ConfigError
from studio_worker.state.credentials import NAMES, Credentials, parse_credentials
from studio_worker.wire.urls import StudioUrls


def read_older(config_file: Path) -> Credentials | None:
    """The set that the older worker left, for the studio that the same file names; None where there is none.

    Raises:
        ConfigError: the file is broken, or the set cannot be used.
    """
    table = read_toml(config_file).table
    address = table.get("api_base_url", DEFAULT_STUDIO)
    try:
        origin = StudioUrls.parse(address).origin if isinstance(address, str) else None
    except ValueError:
        origin = None
    if origin is None:
        return None
    found = parse_credentials(origin, table, where=shown(config_file))
    return found if found.to_json() else None


def forget_older(config_file: Path) -> None:
    """Remove the older worker's set from its config file; everything else in it stays, comments included.

    Raises:
        ConfigError: the file is broken or cannot be written; nothing is changed then.
    """
    file = read_toml(config_file)
    if not any(name in file.table for name in NAMES):
        return
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(file.text)
        for name in NAMES:
            document.pop(name, None)
        text = document.as_string()
    except TOMLKitError:
        raise ConfigError(
            f"{shown(config_file)} cannot be changed in place: remove {', '.join(NAMES)} by hand"
        ) from None
    write_edit(replace(file, text=text))
