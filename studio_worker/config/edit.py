"""One change to a config file: the rest of it, comments and order included, stays as the operator wrote it."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio_worker.config.fields import BadSetting
from studio_worker.config.toml_file import TomlFile, shown
from studio_worker.errors import ConfigError
from studio_worker.private_file import PRIVATE, reason, write_atomically

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_HEAD = "# Settings of studio-worker; `studio-worker config` shows all of them.\n"
_FLAT = {"engine_preferences": "source id", "engine_environments": "name"}
"""The tables of plain texts, each with what its keys are."""

_TABLES = ("plugins", *_FLAT)


@dataclass(frozen=True, slots=True)
class Edit:
    """Set `path`, a key or a key inside tables, to `value`; None removes it."""

    path: tuple[str, ...]
    value: Any

    @classmethod
    def inside_table(cls, key: str, text: str) -> Edit:
        """The edit of a key inside a table, whose value is written as TOML, or as plain text where it is none.

        Raises:
            BadSetting: the setting is no table, or its keys have no such depth.
        """
        path = tuple(key.split("."))
        if path[0] not in _TABLES or not all(path):
            tables = ", ".join(f"{table}.<{what}>" for table, what in _FLAT.items())
            raise BadSetting(key, f"is no setting; the tables are plugins.<name>.<key> and {tables}")
        if path[0] in _FLAT:
            if len(path) != 2:
                raise BadSetting(key, f"must be {path[0]}.<{_FLAT[path[0]]}>")
            return cls(path, text)
        if len(path) < 3:
            raise BadSetting(key, "must be plugins.<name>.<key>")
        try:
            return cls(path, tomllib.loads(f"value = {text}")["value"])
        except (ValueError, RecursionError):
            return cls(path, text)

    def applied(self, file: TomlFile) -> TomlFile:
        """The file with this change in it, not yet written.

        Raises:
            ConfigError: the change cannot be made in place.
        """
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        try:
            document = tomlkit.parse(file.text or _HEAD)
            self._apply(document)
            text = document.as_string()
            table = tomllib.loads(text)
        except (TOMLKitError, ValueError, RecursionError):
            table, text = {}, ""
        # By their text, because a NaN is not equal to itself.
        is_set = repr(self._read_back(table)) == repr(_plain(self.value))
        # tomlkit may put a new table before other keys, which are the table's from then on.
        if not is_set or repr(_rest(table, self.path)) != repr(_rest(file.table, self.path)):
            raise ConfigError(f"{shown(file.path)} cannot be changed in place: set {'.'.join(self.path)} by hand")
        return replace(file, text=text, table=table)

    def _apply(self, document: TOMLDocument) -> None:
        import tomlkit

        table: MutableMapping[str, Any] = document
        *parents, last = self.path
        for depth, name in enumerate(parents):
            if name not in table:
                if self.value is None:
                    return
                table[name] = tomlkit.table(is_super_table=depth < len(parents) - 1)
            table = table[name]
            if not isinstance(table, MutableMapping):
                raise ValueError(f"{name} is no table")
        if self.value is None:
            table.pop(last, None)
        else:
            table[last] = self.value

    def _read_back(self, table: Any) -> Any:
        for name in self.path:
            if not isinstance(table, dict) or name not in table:
                return None
            table = table[name]
        return table


def _rest(table: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """What a file holds besides the value at `path`, less the tables on the way to it that hold nothing else."""
    name, *inner = path
    rest = {key: value for key, value in table.items() if key != name}
    if inner and isinstance(below := table.get(name), Mapping) and (kept := _rest(below, inner)):
        rest[name] = kept
    return rest


def write_edit(file: TomlFile) -> None:
    """Write a changed config file: atomically, with its mode and owner; a symbolic link to it stays one.

    Raises:
        ConfigError: the file is read-only, or its folder cannot be written.
    """
    path = Path(os.path.realpath(file.path))
    mode = PRIVATE
    try:
        if file.signature is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            found = path.stat()
            mode = stat.S_IMODE(found.st_mode)
            # A folder that may be written would let us replace a file that its owner protected.
            if not mode & 0o222 or not os.access(path, os.W_OK):
                raise ConfigError(
                    f"{shown(file.path)} is read-only (mode {mode:04o}), so nothing was changed: make it writable "
                    f"(`chmod u+w '{shown(path)}'`), or set the value where the file is managed"
                )
        write_atomically(path, file.text.encode(), mode=mode)
        if file.signature is not None:
            _keep_owner(path, found)
    except OSError as error:
        raise ConfigError(f"{shown(file.path)} cannot be written, so nothing was changed: {reason(error)}") from None


def _keep_owner(path: Path, before: os.stat_result) -> None:
    with suppress(OSError, AttributeError):
        os.chown(path, before.st_uid, before.st_gid)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
