"""The credentials file: private, replaced whole, one set for each studio, the set in use on top."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio_worker.errors import ConfigError
from studio_worker.log import logger
from studio_worker.private_file import make_private_folder, read_private, reason, sweep, write_atomically
from studio_worker.state.credentials import Credentials, parse_credentials
from studio_worker.state.older_worker import forget_older, read_older
from studio_worker.wire.strict_json import NotJson, loads

VERSION = 1
FILE_NAME = "credentials.json"
_MAX_BYTES = 262_144


@dataclass(slots=True)
class _File:
    """What the file holds: the set in use, and those of studios that were used before."""

    current: Credentials | None = None
    others: dict[str, Credentials] = field(default_factory=dict)

    def of(self, origin: str) -> Credentials:
        if self.current is not None and self.current.origin == origin:
            return self.current
        return self.others.get(origin, Credentials(origin))

    def put(self, credentials: Credentials) -> None:
        if self.current is not None and self.current.origin != credentials.origin and self.current.to_json():
            self.others[self.current.origin] = self.current
        self.others.pop(credentials.origin, None)
        self.current = credentials

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"version": VERSION}
        if self.current is not None:
            out |= {"origin": self.current.origin} | self.current.to_json()
        if self.others:
            out["other_studios"] = {origin: other.to_json() for origin, other in sorted(self.others.items())}
        return out


class CredentialStore:
    """Keeps the credentials for one studio; every method blocks for the disk.

    Args:
        state_dir: the state folder; made at mode 0700 by the first `save`.
        origin: the studio's origin; another studio's set is kept in the same file and never handed out.
        legacy_config: the config file of the older worker, which kept its credentials there. They are taken over as
            a set when there is no credentials file yet, for the studio that this file names.
    """

    def __init__(self, state_dir: Path, origin: str, *, legacy_config: Path | None = None) -> None:
        self.path = state_dir / FILE_NAME
        self._origin = origin
        self._legacy = legacy_config

    def load(self) -> Credentials:
        """The credentials for this studio; none of them set where there are none.

        Raises:
            ConfigError: the file is open to others, a link, somebody else's, damaged, or of a newer release; it is
                left as it is and the sentence names the remedy.
        """
        file = self._read()
        return (file or self._import()).of(self._origin)

    def peek(self) -> Credentials:
        """As `load`, but nothing is written: for who only looks."""
        return (self._read() or self._older()).of(self._origin)

    def save(self, credentials: Credentials) -> None:
        """Replace the set of this studio; the old file or the new one survives a crash, never neither.

        Raises:
            ConfigError: the credentials are another studio's, or the file cannot be written or must not be touched.
        """
        if credentials.origin != self._origin:
            raise ConfigError(f"credentials for {credentials.origin} cannot be kept as those for {self._origin}")
        file = self._read() or self._import()
        file.put(credentials)
        self._write(file)

    def reset(self) -> None:
        """Forget this studio's set, in the credentials file and in the older worker's config file, comments kept.

        Only for who holds the state folder's lock.

        Raises:
            ConfigError: one of the files cannot be written; the config file is tried first.
        """
        file = self._read(forgiving=True) or self._import_if_usable()
        if self._legacy is not None:
            forget_older(self._legacy)
        file.put(Credentials(self._origin))
        self._write(file)

    def _read(self, *, forgiving: bool = False) -> _File | None:
        try:
            raw = read_private(self.path, limit_bytes=_MAX_BYTES)
        except FileNotFoundError:
            return None
        try:
            table = loads(raw)
        except NotJson as error:
            table, problem = None, str(error)
        else:
            problem = "no JSON object with a version"
        if not isinstance(table, dict) or type(table.get("version")) is not int:
            raise ConfigError(
                f"{self.path} is damaged ({problem}): restore it from a copy, or remove it and register anew"
            )
        if table["version"] > VERSION:
            raise ConfigError(
                f"{self.path} was written by a newer studio-worker (format {table['version']}, this one reads "
                f"{VERSION}): update studio-worker; the file was left untouched"
            )
        others = table.get("other_studios")
        return _File(
            self._parse(table.get("origin"), table, forgiving=forgiving),
            {
                origin: known
                for origin, other in (others.items() if isinstance(others, dict) else ())
                if (known := self._parse(origin, other, forgiving=forgiving)) is not None
            },
        )

    def _parse(self, origin: Any, table: Any, *, forgiving: bool) -> Credentials | None:
        if not isinstance(origin, str) or not origin or not isinstance(table, dict):
            return None
        try:
            return parse_credentials(origin, table, where=str(self.path))
        except ConfigError:
            if forgiving:
                return None
            raise

    def _import_if_usable(self) -> _File:
        try:
            return self._import()
        except ConfigError:
            return _File()

    def _import(self) -> _File:
        file = self._older()
        if (older := file.current) is not None:
            self._write(file)
            logger.bind(event="state.imported", studio=older.origin, registration=older.state).info(
                "The older worker's registration was taken over from its config file."
            )
        return file

    def _older(self) -> _File:
        return _File(None if self._legacy is None else read_older(self._legacy))

    def _write(self, file: _File) -> None:
        text = json.dumps(file.to_json(), indent=2) + "\n"
        try:
            make_private_folder(self.path.parent)
            sweep(self.path)
            write_atomically(self.path, text.encode())
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be written: {reason(error)}; make the folder writable or set state_dir"
            ) from None
