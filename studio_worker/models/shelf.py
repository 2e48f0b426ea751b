"""Looking for a claim's file among what lies on disk: which one is right, and what is wrong with the others.

A file is right when it is a regular file (or an operator's symbolic link to one), its size is near the size that the
claim tells, and its SHA-256 is the one that the claim gives. Hashing happens once: the sum is remembered for as
long as size and modification time stay the same. Nothing is written, moved or deleted here.
"""

from __future__ import annotations

import asyncio
import hashlib
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from studio_worker.fetch.off_loop import off_loop
from studio_worker.log import logger
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.places import plain_url
from studio_worker.wire.model_source import ModelFile

SIZE_FACTOR = 2.0
"""`approxBytes` is an estimate that people type: a file off by more than this factor is another file."""

HASH_CHUNK = 4 * 1024 * 1024


class Shelf:
    """Finds files.

    Args:
        ledger: the memory of hashes.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # A lock is there for as long as somebody holds it or waits for it.
        self._hashing: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    async def find(self, file: ModelFile, folders: Sequence[Path]) -> tuple[Seen | None, list[str]]:
        """The first of `folders` that holds the right file; else the reasons why the others' files are not it."""
        problems: list[str] = []
        for folder in folders:
            seen = await asyncio.to_thread(look, folder / file.filename)
            if isinstance(seen, Seen):
                problem = size_problem(file, seen) or await self._identity_problem(file, seen)
                if problem is None:
                    return seen, []
                problems.append(problem)
            elif seen is not None:
                problems.append(seen)
        return None, problems

    def likely(self, file: ModelFile, folders: Sequence[Path]) -> Path | None:
        """The first of `folders` that holds what may well be the file, as far as nobody hashes. Blocks."""
        paths = (folder / file.filename for folder in folders)
        return next((path for path in paths if self._may_be(file, look(path))), None)

    def _may_be(self, file: ModelFile, seen: Seen | str | None) -> bool:
        if not isinstance(seen, Seen) or size_problem(file, seen) is not None:
            return False
        if file.sha256 is None:
            return self._origin_problem(file, seen) is None
        known = self._ledger.record(seen.path)
        return known is None or not known.is_of(seen) or known.sha256 in (None, file.sha256.lower())

    async def _identity_problem(self, file: ModelFile, seen: Seen) -> str | None:
        if file.sha256 is None:
            return await asyncio.to_thread(self._origin_problem, file, seen)
        is_over = threading.Event()
        turn = self._hashing.setdefault(seen.path, asyncio.Lock())
        async with turn:
            try:
                found = await off_loop(lambda: self._sum_of(seen, is_over), is_over=is_over)
            except OSError as error:
                return f"{seen.path} cannot be read: {error.strerror or error}"
        if found != file.sha256.lower():
            return f"{seen.path} has the SHA-256 {found}, the claim names {file.sha256.lower()}"
        return None

    def _origin_problem(self, file: ModelFile, seen: Seen) -> str | None:
        """Many files are called model.onnx, and anybody's job can bring one: what came from elsewhere needs a hash."""
        known = self._ledger.record(seen.path)
        if known is None or not known.is_of(seen) or known.url in ("", plain_url(file.url)):
            return None
        return f"{seen.path} came from another address ({known.url}), and the claim gives no hash"

    def _sum_of(self, seen: Seen, is_over: threading.Event) -> str:
        """The SHA-256 of a file, computed once. Blocks; raises OSError, also soon after `is_over` is set."""

        def go_on(done: int, total: int) -> None:
            if is_over.is_set():
                raise InterruptedError(f"nobody waits for the hash of {seen.path} any more")

        known = self._ledger.record(seen.path)
        if known is not None and known.is_of(seen) and known.sha256 is not None:
            return known.sha256
        found = hash_of(seen.path, seen.size, go_on)
        self._ledger.remember(seen, found)
        logger.bind(event="models.hashed", file=seen.path.name, size=seen.size).info("Hashed a model file")
        return found


def look(path: Path) -> Seen | str | None:
    """What lies at `path`: a regular file, the reason why it is of no use, or nothing."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return f"{path} is a link to a file that is not there" if path.is_symlink() else None
    except NotADirectoryError:
        return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    except ValueError as error:
        return f"{path} cannot be a path: {error}"
    if not stat.S_ISREG(state.st_mode):
        return f"{path} is {'a folder' if stat.S_ISDIR(state.st_mode) else 'no regular file'}"
    return Seen(path, state.st_size, state.st_mtime_ns)


def size_problem(file: ModelFile, seen: Seen) -> str | None:
    """Why a file cannot be the claim's by its size, or None."""
    if seen.size == 0:
        return f"{seen.path} is empty"
    if not file.approx_bytes or file.approx_bytes / SIZE_FACTOR <= seen.size <= file.approx_bytes * SIZE_FACTOR:
        return None
    return f"{seen.path} has {seen.size:,} bytes, the claim names about {file.approx_bytes:,}"


def hash_of(path: Path, size: int, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> str:
    """The SHA-256 of a file in hex. Blocks; raises OSError.

    Args:
        path: the file.
        size: its bytes, for `on_bytes`.
        on_bytes: told the bytes that are hashed, and all of them.
    """
    total = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            total.update(chunk)
            done += len(chunk)
            on_bytes(done, max(size, done))
    return total.hexdigest()
