"""Folders for temporary files, of engines' processes and of `generate`: private, and gone also after a killed worker.

One folder a worker, with a lock that lives as long as the worker's process, and in it one folder a child. Whoever can
take the lock knows that its worker is dead, whatever has become of the process id.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from studio_worker.engines.strays import end_strays
from studio_worker.log import logger

PREFIX = "studio-worker-engines-"
LOCK = "worker.lock"

END_SECS = 1.0
"""How long processes of a dead worker's engines may take to end."""


class ChildFolders:
    """Makes the folders of one worker's children. Every method may block: for threads.

    Args:
        root: where folders for temporary files go; the system's own place by default.
        prefix: what the worker's folder is called by; only folders of the same prefix are swept.
    """

    def __init__(self, root: Path | None = None, *, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._root = root or Path(tempfile.gettempdir())
        self._guard = threading.Lock()
        self._mine: Path | None = None
        self._lock: FileLock | None = None

    def sweep(self) -> None:
        """End and remove what dead workers of this user have left. Never raises: what cannot be removed stays."""
        for folder in self._root.glob(f"{self._prefix}*"):
            try:
                if folder != self._mine and _is_ours(folder) and _is_of_a_dead_worker(folder):
                    end_strays(folder, within_secs=END_SECS)
                    shutil.rmtree(folder, ignore_errors=True)
                    logger.bind(event="engine.swept", folder=str(folder)).info("A dead worker's files are removed")
            except OSError as problem:
                logger.bind(event="engine.swept", folder=str(folder), reason=problem.strerror).debug(
                    "A folder of temporary files cannot be looked at"
                )

    def make(self) -> Path:
        """A new folder, 0700, for one child. Raises OSError."""
        with self._guard:
            # Cleaners of temporary folders take what has lain for days.
            if self._mine is None or not self._mine.is_dir():
                mine = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self._root))
                lock = FileLock(mine / LOCK, timeout=0, thread_local=False)
                lock.acquire()
                self._mine, self._lock = mine, lock
            return Path(tempfile.mkdtemp(dir=self._mine))

    def remove(self, folder: Path) -> None:
        """The child is gone, and its files with it."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """All children are gone. A later `make` begins anew."""
        with self._guard:
            mine, lock = self._mine, self._lock
            self._mine = self._lock = None
        if lock is not None:
            lock.release()
        if mine is not None:
            shutil.rmtree(mine, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    entry = folder.lstat()
    return folder.is_dir() and not folder.is_symlink() and (not hasattr(os, "getuid") or entry.st_uid == os.getuid())


def _is_of_a_dead_worker(folder: Path) -> bool:
    """Whether the lock can be taken; a folder without one belongs to a worker that is about to take it."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0, thread_local=False):
            return True
    except Timeout:
        return False
