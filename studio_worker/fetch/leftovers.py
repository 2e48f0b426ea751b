"""Downloads that nobody goes on with: their parts are removed once they have lain for a week."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from studio_worker.fetch.resumable_file import NOTES
from studio_worker.log import logger

KEEP_SECS = 7 * 24 * 3600.0
"""A part whose file nobody has asked for in a week belongs to a job that is over, or to a source that has gone."""


def sweep(root: Path, *, now: float, keep_secs: float = KEEP_SECS) -> int:
    """Remove the parts in `root` and the folders in it that lie there in vain. Blocks; returns the bytes that are free.

    Only what a note of ours speaks of is touched, and nothing that a process is at. A part beside its whole file (a
    process was killed between giving it its name and tidying up) goes at once.

    Args:
        root: the models folder.
        now: seconds since the epoch.
        keep_secs: how long a part may lie untouched.
    """
    freed = 0
    for folder in _folders(root):
        for note in sorted((folder / NOTES).glob("*.json")):
            part = folder / f"{note.stem}.part"
            with suppress(OSError, Timeout), FileLock(folder / NOTES / f"{note.stem}.lock", timeout=0):
                if not os.path.lexists(note):
                    # Whoever held the lock when the note was found has brought its file since, or discarded the part.
                    continue
                if not os.path.lexists(folder / note.stem) and _age(part, note, now) < keep_secs:
                    continue
                size = part.lstat().st_size if os.path.lexists(part) else 0
                part.unlink(missing_ok=True)
                note.unlink(missing_ok=True)
                freed += size
                logger.bind(event="fetch.swept", file=note.stem, size=size).info("Removed an unfinished download")
    return freed


def _folders(root: Path) -> Iterator[Path]:
    try:
        inner = [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    yield from (folder for folder in (root, *inner) if _is_folder(folder / NOTES))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Where the worker may not look (a disk's lost+found is root's) nothing of its own lies.
        return False


def _age(part: Path, note: Path, now: float) -> float:
    """Seconds since either of the two was touched."""
    return now - max(path.lstat().st_mtime for path in (part, note) if os.path.lexists(path))
