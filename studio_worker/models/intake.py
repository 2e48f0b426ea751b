"""Putting a file of the operator's own into the models folder: linked, copied or moved, and never over another one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.disk import DiskSpace
from studio_worker.fetch.resumable_file import Note, ResumableFile, lock_path, source_mark
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.preflight import preflight
from studio_worker.models.shelf import HASH_CHUNK, hash_of, look
from studio_worker.private_file import sync_folder
from studio_worker.text import escape


class Way(Enum):
    """How a file came to its place."""

    HERE = "here"
    """The same file, by its hash, was there already."""
    LINKED = "linked"
    COPIED = "copied"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Taken:
    """A file in its place: where it is now, bytes, hash, and how it came."""

    path: Path
    size: int
    sha256: str
    way: Way

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "filename": self.path.name,
            "state": self.way.value,
            "path": str(self.path),
            "sizeBytes": self.size,
            "sha256": self.sha256,
        }


def take_in(
    source: Path,
    dest: Path,
    ledger: Ledger,
    *,
    sha256: str | None = None,
    copy: bool = False,
    move: bool = False,
    on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> Taken:
    """Bring `source` to `dest`: by a hard link where one disk holds both, else by a copy. Blocks.

    It stays the operator's own, which no quota removes. What lies at `dest` is never overwritten.

    Args:
        source: a regular file, or a link to one.
        dest: its place; the folder must exist.
        ledger: remembers the hash.
        sha256: the hash that it must have; None: any.
        copy: copy it also where a link would do.
        move: remove `source` afterwards.
        on_bytes: told the bytes that are read, and all of them.

    Raises:
        ModelUnavailable: it is no file, is not the one that the hash names, or must not be opened by any engine; or
            another file has its name.
        JobError: the disk has no room for a copy.
        OSError: it cannot be read or written.
    """
    found = look(source)
    if not isinstance(found, Seen) or not found.size:
        raise ModelUnavailable(f"{found if isinstance(found, str) else f'{source} is not there, or is empty'}")
    preflight(source, dest.name, beside=None)
    origin = source.resolve(strict=True)
    lock = lock_path(dest)
    lock.parent.mkdir(exist_ok=True)
    try:
        with FileLock(lock, timeout=0, thread_local=False):
            taken = _placed(origin, dest, found.size, sha256, copy=copy, on_bytes=on_bytes)
            seen = look(dest)
            if isinstance(seen, Seen):
                ledger.trust(seen, taken.sha256)
                ledger.disown(dest)
    except Timeout:
        raise ModelUnavailable(f"{dest} is being downloaded now: wait for it, or name another file") from None
    if not move or taken.way is Way.HERE:
        return taken
    source.unlink()
    return Taken(taken.path, taken.size, taken.sha256, Way.MOVED)


def _placed(
    origin: Path, dest: Path, size: int, sha256: str | None, *, copy: bool, on_bytes: Callable[[int, int], None]
) -> Taken:
    if os.path.lexists(dest):
        return _same(origin, dest, size, sha256, on_bytes)
    if not copy:
        found = hash_of(origin, size, on_bytes)
        _check(origin, found, sha256)
        try:
            os.link(origin, dest)
        except FileExistsError:
            return _same(origin, dest, size, sha256, on_bytes)
        except OSError:
            # Another disk, or one whose file system has no hard links.
            pass
        else:
            sync_folder(dest.parent)
            return Taken(dest, size, found, Way.LINKED)
    found = _copied(origin, dest, size, sha256, on_bytes)
    return Taken(dest, dest.stat().st_size, found, Way.COPIED)


def _same(origin: Path, dest: Path, size: int, sha256: str | None, on_bytes: Callable[[int, int], None]) -> Taken:
    """What lies at `dest`, if it is the same file."""
    there = look(dest)
    if isinstance(there, Seen) and there.size == size:
        found = hash_of(origin, size, on_bytes)
        _check(origin, found, sha256)
        if dest.samefile(origin) or hash_of(dest, size) == found:
            return Taken(dest, size, found, Way.HERE)
    raise ModelUnavailable(f"another file lies at {dest}, which stays as it is: name this one otherwise")


def _copied(origin: Path, dest: Path, size: int, sha256: str | None, on_bytes: Callable[[int, int], None]) -> str:
    """A copy under a name of its own until it is whole, as a download has; its hash."""
    DiskSpace().check(dest.parent, size, escape(dest.name, limit=100))
    part = ResumableFile(dest)
    part.restart(Note(source_mark(origin.as_uri()), total=size))
    total = hashlib.sha256()
    try:
        descriptor = part.open(0)
        with os.fdopen(descriptor, "wb") as target, origin.open("rb") as file:
            done = 0
            while chunk := file.read(HASH_CHUNK):
                total.update(chunk)
                target.write(chunk)
                done += len(chunk)
                on_bytes(done, max(size, done))
            target.flush()
            os.fsync(target.fileno())
        found = total.hexdigest()
        _check(origin, found, sha256)
        part.finish()
    except BaseException:
        part.discard()
        raise
    return found


def _check(origin: Path, found: str, sha256: str | None) -> None:
    if sha256 is not None and found != sha256.lower():
        raise ModelUnavailable(f"{origin} has the SHA-256 {found}, and not {sha256.lower()}: it is another file")
