"""Results on disk: named by the studio, never by a client."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from pathlib import Path

from studio_worker.private_file import make_private_folder, sync_file, sync_folder

_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}")


class Blobs:
    """A folder of results. All methods block: call them in a thread.

    Args:
        folder: made where it is missing; uploads under way lie in ``incoming`` inside it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        make_private_folder(self._incoming)

    def temp(self) -> Path:
        """A new empty file for an upload, on the same file system."""
        handle, name = tempfile.mkstemp(dir=self._incoming, prefix="upload-")
        os.close(handle)
        return Path(name)

    def keep(self, temp: Path, job_id: str) -> str:
        """Make an upload durable; its name. Two uploads of one job never share one."""
        name = f"{hashlib.sha256(job_id.encode()).hexdigest()[:32]}-{secrets.token_hex(8)}"
        with temp.open("rb+") as file:
            sync_file(file.fileno())
        temp.replace(self._folder / name)
        sync_folder(self._folder)
        return name

    def path(self, name: str) -> Path | None:
        """Where a blob lies; None where there is none, or where somebody put a link in its place."""
        path = self._folder / name
        if not _NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
            return None
        return path

    def delete(self, name: str) -> None:
        """Remove a blob, if it is there."""
        if _NAME.fullmatch(name):
            (self._folder / name).unlink(missing_ok=True)

    def sweep(self, known: set[str]) -> int:
        """Remove what a stopped studio left behind: uploads under way, and blobs that no job holds; how many."""
        left = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name) and path.name not in known]
        left += list(self._incoming.iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)
