"""The private folders that jobs work in, gone after the job."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from secrets import token_hex


class WorkDirs:
    """Folders under one root, which belongs to this worker alone.

    Making and removing an empty folder costs some ten microseconds and is done where it stands; everything
    slower goes to a thread.

    Args:
        root: ``<state folder>/work``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def sweep(self) -> None:
        """Make the root (0700) and remove what earlier jobs left there."""
        await asyncio.to_thread(self._sweep)

    def make(self) -> Path:
        """A new, empty, private folder. Its name is random: nothing of the claim becomes part of a path."""
        folder = self._root / token_hex(8)
        folder.mkdir(mode=0o700)
        return folder

    async def remove(self, folder: Path) -> None:
        """Remove a folder and all that is in it; what can't be removed is swept at the next start."""
        if not _is_removed(folder):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _sweep(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._root.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def _is_removed(folder: Path) -> bool:
    """Remove a folder that is empty, as after most jobs with JSON results."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
