"""A file that appears whole or not at all: written off the event loop under a temporary name, renamed at the end."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from studio_worker.fetch.off_loop import off_loop

BATCH_BYTES = 256 * 1024
"""Bytes gathered before a thread is asked to write: a hop costs 0.2 ms."""


class AtomicFile:
    """Bytes for `dest`, which appears by rename in `finish` or not at all.

    A symbolic link at `dest` is replaced, never followed. All methods may raise OSError.

    Args:
        dest: where the whole file goes; its folder must exist.
    """

    def __init__(self, dest: Path) -> None:
        self._dest = dest
        self._gathered = bytearray()
        self._file: BinaryIO | None = None
        self._part: Path | None = None
        self.size = 0
        """Bytes taken so far."""

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._gathered += data
        self.size += len(data)
        if len(self._gathered) >= BATCH_BYTES:
            await off_loop(self._flush)

    async def finish(self) -> None:
        """Write what is left and give the file its name."""
        await off_loop(self._finish)

    async def discard(self) -> None:
        """Leave nothing behind."""
        if self._file is not None or self._part is not None:
            await off_loop(self._discard)

    def _flush(self) -> None:
        if self._file is None:
            handle, name = tempfile.mkstemp(prefix=f".{self._dest.name[:100]}.", suffix=".part", dir=self._dest.parent)
            self._file, self._part = os.fdopen(handle, "wb"), Path(name)
        data, self._gathered = self._gathered, bytearray()
        self._file.write(data)

    def _finish(self) -> None:
        self._flush()
        assert self._file is not None
        assert self._part is not None
        self._file.close()
        self._part.replace(self._dest)
        self._file = self._part = None

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        self._file = self._part = None
