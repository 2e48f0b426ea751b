"""The SHA-256 of a part as far as it has come, kept from one try to the next: what lies on the disk is read once."""

from __future__ import annotations

import hashlib
import os
import threading

from studio_worker.fetch.off_loop import off_loop
from studio_worker.fetch.resumable_file import ResumableFile

_READ_BYTES = 1024 * 1024


class PartSum:
    """A running hash of a part's first bytes, right as long as nobody else writes to the part."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes that are hashed."""
        self._sum = hashlib.sha256()

    @property
    def hexdigest(self) -> str:
        """The SHA-256 of those bytes, in hex."""
        return self._sum.hexdigest()

    def add(self, data: bytes) -> None:
        """Hash the bytes that follow."""
        self._sum.update(data)
        self.size += len(data)

    async def reach(self, part: ResumableFile, size: int) -> None:
        """Hash the first `size` bytes of `part`, of which only those are read that are not hashed yet.

        To be done before a server is asked: of a long part it takes minutes, and who sends to somebody that takes
        nothing hangs up. A cancellation ends the reading.

        Raises:
            OSError: the part cannot be read, or is shorter.
        """
        if self.size > size:
            self.size, self._sum = 0, hashlib.sha256()
        if self.size < size:
            is_over = threading.Event()
            await off_loop(lambda: self._read(part, size, is_over), is_over=is_over)

    def _read(self, part: ResumableFile, size: int, is_over: threading.Event) -> None:
        descriptor = part.open(size)
        try:
            os.lseek(descriptor, self.size, os.SEEK_SET)
            while self.size < size and not is_over.is_set():
                data = os.read(descriptor, min(_READ_BYTES, size - self.size))
                if not data:
                    raise OSError(f"{part.path} became shorter while it was read")
                self.add(data)
        finally:
            os.close(descriptor)
