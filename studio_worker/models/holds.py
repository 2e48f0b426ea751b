"""Model files held for as long as they are used, so that also those stay whose users share no ledger with the remover.

A ledger knows the uses of one state folder; several workers of a machine may have a folder each and the models in
common. So a file in use is held open as well, with a shared lock of the operating system's on the file itself (flock):
every process on the machine sees it, and it ends with its holder however that dies. Whoever removes a file takes the
lock for itself alone first. All hard links to a file are held together.

On Windows a file that is open cannot be removed, so it is only held open there. Where a file cannot be opened, or its
file system knows no such locks, nothing is held, and the ledger alone says who uses it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# A pipe that lies where a model should must not keep whoever opens it waiting for a writer.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
_TRIES = 200
"""How often a file is tried that somebody has for itself alone: a remover has it for as long as an unlink takes."""
_PAUSE_SECS = 0.02


@dataclass(slots=True)
class _Hold:
    uses: int = 0
    fd: int | None = None


class Holds:
    """The files that this process holds, each once however often it is used. Methods block, for any thread."""

    def __init__(self) -> None:
        self._held: dict[Path, _Hold] = {}
        self._lock = threading.Lock()

    def begin(self, paths: Iterable[Path]) -> None:
        """One use more of each file; one that is there afterwards stays until `end`."""
        for path in paths:
            fd = _taken(path)
            with self._lock:
                hold = self._held.setdefault(path, _Hold())
                hold.uses += 1
                # The newer one is kept: it is of the file that lies there now, should another have taken its place.
                spare, hold.fd = (hold.fd, fd) if fd is not None else (None, hold.fd)
            _let_go(spare)

    def end(self, paths: Iterable[Path]) -> None:
        """One use less of each file; nothing for one that is not used."""
        for path in paths:
            with self._lock:
                hold = self._held.get(path) or _Hold()
                hold.uses -= 1
                if hold.uses == 0:
                    del self._held[path]
            if hold.uses == 0:
                _let_go(hold.fd)

    def end_all(self) -> None:
        """Nothing is used any more."""
        with self._lock:
            holds = list(self._held.values())
            self._held.clear()
        for hold in holds:
            _let_go(hold.fd)


@contextmanager
def unheld(path: Path) -> Iterator[bool]:
    """Whether nobody holds the file at `path`, by any of its names; nobody begins to within the block. Blocks."""
    fd, is_free = _alone(path)
    try:
        yield is_free
    finally:
        _let_go(fd)


def is_held(path: Path) -> bool:
    """Whether some process of this machine, this one too, holds the file at `path` now. Blocks."""
    with unheld(path) as is_free:
        return not is_free


if sys.platform != "win32":

    def _lock(fd: int, how: int) -> bool:
        """Whether the lock is ours now; raises OSError where the file system has none."""
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _taken(path: Path) -> int | None:
    """An open descriptor of the file that lies at `path`, locked together with its other users; None: it cannot be."""
    for _ in range(_TRIES):
        fd = _opened(path)
        if fd is None or sys.platform == "win32":
            return fd
        try:
            is_ours = _lock(fd, fcntl.LOCK_SH)
        except OSError:
            os.close(fd)
            return None
        if is_ours and _lies_at(fd, path):
            return fd
        _let_go(fd)
        if not is_ours:
            time.sleep(_PAUSE_SECS)
    return None


def _alone(path: Path) -> tuple[int | None, bool]:
    """A descriptor of the file at `path` that is locked for us alone, if there is one; and whether nobody holds it."""
    if sys.platform == "win32":
        return None, True
    for _ in range(_TRIES):
        fd = _opened(path)
        if fd is None:
            return None, True
        try:
            is_ours = _lock(fd, fcntl.LOCK_EX)
            # In the way are users, or somebody who looks as we do and is done in a moment: only users share.
            is_shared = not is_ours and _lock(fd, fcntl.LOCK_SH)
            is_ours = is_ours or (is_shared and _lock(fd, fcntl.LOCK_EX))
        except OSError:
            os.close(fd)
            return None, True
        if is_ours and _lies_at(fd, path):
            return fd, True
        _let_go(fd)
        if is_shared and not is_ours:
            return None, False
        if not is_ours:
            time.sleep(_PAUSE_SECS)
    return None, False


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, _FLAGS)
    except OSError:
        return None


def _lies_at(fd: int, path: Path) -> bool:
    """Whether what is open is what has the name: it may have been removed before it was locked."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def _let_go(fd: int | None) -> None:
    if fd is None:
        return
    if sys.platform != "win32":
        # A child that is being started has a copy for a moment, and closing ours alone would leave it the lock.
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
