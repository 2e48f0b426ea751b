"""What tells whether the file of a kept result is still what was written.

A CRC-32: it finds what a crash has torn and what a disk has spoilt, but for one damage in four billion. Malice is not
its business, for whoever can write the file can write the row beside it. A cryptographic hash of a mebibyte takes half
a millisecond more, for which each upload of one would wait.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Protocol

_SHA256_CHARS = 64


class Checksum(Protocol):
    """A checksum that grows, as `hashlib` makes them."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """What has come of all of them, as hex."""
        ...


class Crc32:
    """The checksum of a result that is kept now: eight characters of hex."""

    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        self._sum = zlib.crc32(data, self._sum)

    def hexdigest(self) -> str:
        """What has come of all of them."""
        return f"{self._sum:08x}"


def checksum_of(blocks: Iterable[bytes]) -> str:
    """The checksum of bytes that come in blocks."""
    summed = Crc32()
    for block in blocks:
        summed.update(block)
    return summed.hexdigest()


def checksum_like(known: str) -> Checksum:
    """An empty checksum of the same kind as a `known` one: journals of schema 1 hold SHA-256."""
    return hashlib.sha256() if len(known) == _SHA256_CHARS else Crc32()
