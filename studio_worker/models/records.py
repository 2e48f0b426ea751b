"""What is seen of a model file, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio_worker.models.path_keys import path_of


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file was when it was looked at."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one file.

    Attributes:
        path: where it lies.
        size: bytes.
        mtime_ns: its modification time; another one, or another size, is another file.
        sha256: its hash, None where nobody computed it.
        is_owned: whether the worker made the file, and so may remove it.
        url: where it came from, without the query; empty: not known.
        model: the model that used it last.
        last_used: seconds since the epoch, None: never.
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str | None
    is_owned: bool
    url: str
    model: str
    last_used: float | None

    def is_of(self, seen: Seen) -> bool:
        """Whether it speaks of the very file that was seen."""
        return (self.size, self.mtime_ns) == (seen.size, seen.mtime_ns)


def record_of(row: tuple[object, ...]) -> Record:
    """What a row of the ledger's table of files says."""
    path, size, mtime_ns, sha256, owned, url, model, last_used = row
    return Record(path_of(path), size, mtime_ns, sha256, bool(owned), url, model, last_used)  # type: ignore[arg-type]  # the columns' types
