"""Bytes into a part, hashed on the way: one thread a file, fed through a bounded hand-over."""

from __future__ import annotations

import asyncio
import os
import threading
from queue import SimpleQueue

from studio_worker.fetch.off_loop import off_loop
from studio_worker.fetch.part_sum import PartSum
from studio_worker.fetch.resumable_file import ResumableFile

BATCH_BYTES = 1024 * 1024
"""Bytes gathered before the thread is woken: a wake for each chunk of the network costs more than the hash."""

MAX_WAITING = 4 * BATCH_BYTES
"""Bytes that may wait for a slow disk; beyond that the network waits. A kill costs them, memory is bounded by them."""


class Filling:
    """Appends to a part, behind what is hashed of it already, and hashes what it appends.

    Args:
        part: the part.
        summed: the hash of those of its bytes that stay; nobody else may touch it until the end.
    """

    def __init__(self, part: ResumableFile, summed: PartSum) -> None:
        self.size = summed.size
        """Bytes of the part, those that only wait to be written included."""
        self._part = part
        self._summed = summed
        self._loop = asyncio.get_running_loop()
        self._batches: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._waiting = 0
        self._room: asyncio.Future[None] | None = None
        self._error: OSError | None = None
        self._is_ended = False
        self._thread = threading.Thread(target=self._work, name=f"fill-{part.dest.name}", daemon=True)
        self._thread.start()

    async def put(self, chunk: bytes) -> None:
        """Take the next bytes; waits while the disk is behind.

        Raises:
            OSError: the disk has refused.
        """
        self.size += len(chunk)
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes >= BATCH_BYTES:
            self._hand_over()
            while self._waiting > MAX_WAITING and self._error is None:
                self._room = self._loop.create_future()
                await self._room
        if self._error is not None:
            raise self._error

    async def end(self) -> str:
        """Everything on the disk: the SHA-256 of the whole part, in hex.

        Raises:
            OSError: the disk has refused.
        """
        await self._ended()
        if self._error is not None:
            raise self._error
        return self._summed.hexdigest

    async def leave(self) -> None:
        """Keep what has come for the next try; a disk that refuses is no news then."""
        await self._ended()

    async def _ended(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._hand_over()
            self._batches.put(None)
        await off_loop(self._thread.join)

    def _hand_over(self) -> None:
        if self._gathered:
            self._waiting += self._gathered_bytes
            self._batches.put(self._gathered)
            self._gathered, self._gathered_bytes = [], 0

    def _work(self) -> None:
        """The thread: an error ends the writing, the batches are still taken so that nobody waits for ever."""
        try:
            descriptor = self._part.open(self._summed.size)
        except OSError as error:
            self._error = error
            self._drain()
            return
        try:
            while (batch := self._batches.get()) is not None:
                for chunk in batch:
                    self._write(descriptor, chunk)
                self._tell(sum(map(len, batch)))
            os.fsync(descriptor)
        except OSError as error:
            self._error = error
            self._drain()
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
        self._summed.add(chunk)

    def _drain(self) -> None:
        self._tell(MAX_WAITING)
        while self._batches.get() is not None:
            pass

    def _tell(self, done: int) -> None:
        self._loop.call_soon_threadsafe(self._written, done)

    def _written(self, done: int) -> None:
        self._waiting -= done
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
