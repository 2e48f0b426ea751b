"""The private folders that jobs work in, gone after the job."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from secrets import token_hex

from studio_worker.daemon_thread import in_daemon_thread, within
from studio_worker.jobs.hang_watch import PATIENCE_SECS
from studio_worker.private_file import make_own_folder

GATHER_SECS = 0.02
"""How long folders gather before one thread removes them all: a hop for each would cost more than a small job."""

MAX_SPARE = 16

TICK_NS = 100_000_000
"""Time stamps of files move in ticks: one that is older than this changes with the next entry in its folder."""

_OURS = re.compile(r"[0-9a-f]{16}")
"""The names of jobs' folders; whatever else lies beside them is somebody else's, and stays."""


class WorkDirs:
    """Folders under one root, which other things may lie in too: a state folder can be set to any folder.

    Args:
        root: ``<state folder>/work``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._discarded: list[Path] = []
        self._spare: list[tuple[Path, int]] = []
        self._settled: dict[Path, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._removing: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Make the root (0700) and remove what earlier jobs left there.

        Raises:
            ConfigError: it is another user's.
            OSError: it cannot be made, or read.
        """
        await asyncio.to_thread(self._sweep)

    async def aclose(self) -> None:
        """Remove every job's folder that is left, as far as the disk answers in time."""
        if self._timer is not None:
            self._timer.cancel()
        if self._removing is not None:
            await asyncio.wait([self._removing], timeout=PATIENCE_SECS)
        await within(PATIENCE_SECS, self._sweep, name="end of work")

    def make(self) -> Path:
        """An empty, private folder; its name is random: nothing of the claim becomes part of a path. Raises OSError."""
        if self._spare:
            folder, changed_ns = self._spare.pop()
            if time.time_ns() - changed_ns > TICK_NS:
                self._settled[folder] = changed_ns
            return folder
        folder = self._root / token_hex(8)
        try:
            folder.mkdir(mode=0o700)
        except FileNotFoundError:
            # Somebody removed the root; a state folder that is gone is not made again.
            self._root.mkdir(mode=0o700)
            folder.mkdir(mode=0o700)
        return folder

    async def remove(self, folder: Path) -> None:
        """Remove a folder with all that is in it; what can't be removed is swept at the next start."""
        self._settled.pop(folder, None)
        await asyncio.to_thread(_remove, (folder,))

    def give_back(self, folder: Path) -> None:
        """Let the next job have a folder that nobody put anything into; one that was used is discarded.

        For jobs that hardly ever use theirs and have let go of it: a look costs a tenth of removing and making. Even
        the look waits until what is to be sent was sent.
        """
        asyncio.get_running_loop().call_soon(self._sort, folder)

    def _sort(self, folder: Path) -> None:
        settled_ns = self._settled.pop(folder, None)
        try:
            changed_ns = folder.stat().st_mtime_ns
            is_empty = changed_ns == settled_ns or _is_empty(folder)
        except OSError:
            is_empty = False
        if is_empty and len(self._spare) < MAX_SPARE:
            self._spare.append((folder, changed_ns))
        else:
            self.discard(folder)

    def discard(self, folder: Path) -> None:
        """Have a folder removed soon, without waiting for it."""
        self._settled.pop(folder, None)
        self._discarded.append(folder)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._removing is not None:
            # The thread is still at the last batch; its end looks here again.
            return
        folders, self._discarded = self._discarded, []
        self._removing = asyncio.wrap_future(in_daemon_thread(partial(_remove, folders), name="work"))
        self._removing.add_done_callback(self._flushed)

    def _flushed(self, _: asyncio.Future[None]) -> None:
        self._removing = None
        if self._discarded and self._timer is None:
            self._flush()

    def _sweep(self) -> None:
        make_own_folder(self._root)
        _remove([left for left in self._root.iterdir() if _OURS.fullmatch(left.name) and not left.is_symlink()])


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
