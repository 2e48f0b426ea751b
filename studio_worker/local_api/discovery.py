"""The discovery file: how a program of the same user finds the local API, and proves that it is that user."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from studio_worker.errors import ConfigError
from studio_worker.private_file import read_private, sweep, write_atomically
from studio_worker.wire.strict_json import NotJson, dumps, loads

_URL = re.compile(r"http://127\.0\.0\.1:([0-9]{1,5})", re.ASCII)
_TOKEN = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Discovery:
    """Address and token of one start of one worker."""

    url: str
    token: str

    def __repr__(self) -> str:
        """The address; the token stays hidden."""
        return f"Discovery(url={self.url!r})"

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    def write(self, path: Path) -> None:
        """Publish it at mode 0600; blocks for the disk, raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        write_atomically(path, f"{dumps({'url': self.url, 'token': self.token})}\n".encode())

    def withdraw(self, path: Path) -> None:
        """Remove the file if it is still this one: another worker may have published itself since."""
        try:
            if read_discovery(path) == self:
                path.unlink(missing_ok=True)
        except (OSError, ConfigError):
            return


def read_discovery(path: Path) -> Discovery | None:
    """What a worker published there; None where there is no file.

    Raises:
        ConfigError: the file is open to others, or is no discovery file.
    """
    try:
        found = loads(read_private(path, limit_bytes=4_096))
    except FileNotFoundError:
        return None
    except NotJson:
        found = None
    url, token = (found.get("url"), found.get("token")) if isinstance(found, dict) else (None, None)
    if not _is_address(url) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ConfigError(f"{path} is no discovery file of a worker: remove it and start the worker again")
    return Discovery(url, token)


def _is_address(url: object) -> TypeGuard[str]:
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    return match is not None and 0 < int(match[1]) <= 65_535
