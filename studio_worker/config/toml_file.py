"""Reading the config file: whatever lies there is either a table of settings or a sentence that says what is wrong."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio_worker.errors import ConfigError
from studio_worker.private_file import reason
from studio_worker.text import escape

MAX_BYTES = 1_048_576
"""The largest config file that is read."""

_MARKS = {b"\xef\xbb\xbf": "a UTF-8 byte order mark", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_POSITION = re.compile(r"\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells one version of a file from another without reading it."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Signature:
        """The signature of a file that was looked at."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A config file as it was read. `signature` is None where there is no file."""

    path: Path
    text: str
    table: dict[str, Any]
    signature: Signature | None

    def line_of(self, key: str) -> int | None:
        """The line, from 1, on which a top-level key is written."""
        match = re.search(
            rf"^[ \t]*[\"']?{re.escape(key)}[\"']?[ \t]*[=.]|^[ \t]*\[{re.escape(key)}[\].]", self.text, re.MULTILINE
        )
        return None if match is None else self.text.count("\n", 0, match.start()) + 1


def shown(path: Path) -> str:
    """A path as messages show it."""
    return escape(str(path))


def signature_of(path: Path) -> Signature | None:
    """The signature of the file that lies there now, None where nothing can be looked at."""
    try:
        return Signature.of(path.stat())
    except (OSError, ValueError):
        return None


def read_toml(path: Path) -> TomlFile:
    """The config file, or an empty table where there is none.

    Raises:
        ConfigError: it is no regular file, too large, not UTF-8, or no TOML. Names the file, and line and column
            where they are known; never quotes a line, which may hold a token.
    """
    raw, signature = _read(path)
    text = _decode(path, raw)
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{shown(path)} nests brackets too deeply to be a config file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown(path)}{_where(text, error)}") from None
    except ValueError as error:
        raise ConfigError(f"{shown(path)} is no TOML: {_cause(error)}") from None
    return TomlFile(path, text, table, signature)


def _read(path: Path) -> tuple[bytes, Signature | None]:
    try:
        # Without O_NONBLOCK a FIFO would hold the start up for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return b"", None
    except (OSError, ValueError) as error:
        problem = "it is a folder" if path_is_folder(path) else reason(error)
        raise ConfigError(f"{shown(path)} cannot be read as a config file: {problem}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{shown(path)} cannot be read as a config file: it is {_kind(found.st_mode)}")
        if found.st_size > MAX_BYTES:
            raise ConfigError(f"{shown(path)} has {found.st_size:,} bytes; a config file has at most {MAX_BYTES:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{shown(path)} cannot be read as a config file: {reason(error)}") from None
    finally:
        os.close(descriptor)
    return raw, Signature.of(found)


def path_is_folder(path: Path) -> bool:
    """Whether a folder lies there; a path that no system takes is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _kind(mode: int) -> str:
    for test, words in ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket")):
        if test(mode):
            return words
    return "a device"


def _decode(path: Path, raw: bytes) -> str:
    for mark, words in _MARKS.items():
        if raw.startswith(mark):
            raise ConfigError(f"{shown(path)} starts with {words}: save it as UTF-8 without a byte order mark")
    if (at := raw.find(b"\0")) >= 0:
        line = raw.count(b"\n", 0, at) + 1
        raise ConfigError(f"{shown(path)}, line {line}: holds a NUL byte: it is UTF-16 or no text; save it as UTF-8")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown(path)}, line {line}: is not UTF-8 text; save it as UTF-8") from None


def _where(text: str, error: tomllib.TOMLDecodeError) -> str:
    message = str(error)
    found = _POSITION.search(message)
    line, column = (found["line"], found["column"]) if found else (None, None)
    if line is None:
        lines = text.split("\n")
        line, column = str(len(lines)), str(len(lines[-1]) + 1)
    return f", line {line}, column {column}: is no TOML: {_cause(error)}"


def _cause(error: ValueError) -> str:
    """The parser's message without what it repeats of the file: a key that was meant as a value may be a token."""
    message = _POSITION.sub("", str(error)).strip()
    message = re.sub(r"\(.*\)|'.*'|\".*\"", "…", message)
    return escape(message[:1].lower() + message[1:], limit=200)
