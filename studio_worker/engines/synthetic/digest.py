"""Numbers that follow from a text and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def hexdigest(*parts: object) -> str:
    """SHA-256 of the parts, as hex; ``("a", "bc")`` and ``("ab", "c")`` differ."""
    hashed = hashlib.sha256()
    for part in parts:
        data = str(part).encode("utf-8", "surrogatepass")
        hashed.update(len(data).to_bytes(8, "big") + data)
    return hashed.hexdigest()


class Dice:
    """An endless row of numbers that follows from its seed: SHA-256 in counter mode.

    The standard library's generator promises the same row for the same seed only for some of its methods.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0
        self._bytes = b""

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1, for limits up to 65,536."""
        if len(self._bytes) < 2:
            self._bytes = hashlib.sha256(self._seed + self._count.to_bytes(8, "big")).digest()
            self._count += 1
        number, self._bytes = int.from_bytes(self._bytes[:2], "big"), self._bytes[2:]
        return number * limit >> 16

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.below(65_536) / 65_535

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[self.below(len(options))]
