"""A parser that strangers reach, as something that can be fed with any bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from pydantic import ValidationError

MAX_SAID = 5_000
"""Characters of a refusal: the sentence is for people, whatever was refused."""

Reader = Callable[[bytes, Path], object]
Change = Callable[[bytes, Random], bytes | None]
_W, _R = TypeVar("_W"), TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Target:
    """A parser.

    Attributes:
        name: how people call it.
        read: reads the bytes, and asserts of what it read whatever the parser promises; the folder is its own.
        refusals: the errors that it may raise.
        seeds: sound samples; each is read.
        hostile: samples that once were read and must not be; each is refused.
        change: how its messages are changed besides byte by byte; may say None. None: byte by byte alone.
        through: packages of others that do the reading, in Python.
        rss_mb: memory that it may take, in MiB.
    """

    name: str
    read: Reader
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    hostile: tuple[bytes, ...]
    change: Change | None
    through: tuple[str, ...]
    rss_mb: int

    def takes(self, data: bytes, folder: Path) -> bool:
        """Whether `data` is read; False where it is refused. Whatever else is raised is a finding."""
        try:
            self.read(data, folder)
        except self.refusals as refusal:
            # pydantic's own is for programs; whoever shows it puts it into words first.
            if not isinstance(refusal, ValidationError):
                said = str(refusal)
                assert said.isprintable(), f"a refusal that no line can show: {said!a}"
                assert len(said) <= MAX_SAID, f"a refusal of {len(said):,} characters"
            return False
        return True


def target(
    *refusals: type[Exception],
    seeds: Iterable[bytes | str],
    hostile: Iterable[bytes] = (),
    change: Change | None = None,
    through: tuple[str, ...] = (),
    rss_mb: int = 1_024,
) -> Callable[[Reader], Target]:
    """Make a target of the function that reads; its name is the target's, with dashes."""
    sound = tuple(seed.encode() if isinstance(seed, str) else seed for seed in seeds)
    bad = tuple(hostile)
    return lambda read: Target(read.__name__.replace("_", "-"), read, refusals, sound, bad, change, through, rss_mb)


def as_json(values: Iterable[Any]) -> Iterable[str]:
    """Each value as JSON text."""
    return map(json.dumps, values)


def text(data: bytes) -> str:
    """Bytes as text: what came by a socket or a file was UTF-8 before any parser saw it."""
    return data.decode(errors="replace")


def reread(read: Callable[[_W], _R], written: _W) -> _R:
    """What is read of what we wrote ourselves, where a refusal is a finding too."""
    try:
        return read(written)
    except Exception as error:
        raise AssertionError(f"what was read and written again is refused: {error}") from error


def placed(data: bytes, folder: Path, name: str) -> Path:
    """The bytes as a file of the user's own."""
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path
