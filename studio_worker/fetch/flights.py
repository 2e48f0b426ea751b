"""One transfer a file, however many jobs and processes want it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from studio_worker.clock import Clock
from studio_worker.fetch.off_loop import off_loop
from studio_worker.fetch.resumable_file import ResumableFile, lock_path
from studio_worker.log import logger

POLL_SECS = 0.25
"""Seconds between two looks at a lock that another process holds."""


@dataclass
class _Flight:
    """One file on its way in this process: whose turn it is, and who wants to hear of it."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    listeners: list[Callable[[int, int | None], None]] = field(default_factory=list)

    def tell(self, done: int, total: int | None) -> None:
        for listener in self.listeners:
            listener(done, total)


class Flights:
    """Takes turns at a file, first in this process, then among processes.

    The lock between processes is the operating system's, so it ends with its owner however that dies. Whoever is
    cancelled in its turn leaves the part to the next.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flights: dict[Path, _Flight] = {}

    @asynccontextmanager
    async def turn(
        self, dest: Path, on_bytes: Callable[[int, int | None], None]
    ) -> AsyncIterator[Callable[[int, int | None], None]]:
        """This caller's turn at `dest`; it may have come by then. Yields what tells all who wait how far it is.

        Raises:
            OSError: the folder cannot be written.
        """
        flight = self._flights.setdefault(dest, _Flight())
        flight.listeners.append(on_bytes)
        try:
            async with flight.turn:
                lock = await self._locked(dest, flight)
                try:
                    yield flight.tell
                finally:
                    await off_loop(lock.release)
        finally:
            flight.listeners.remove(on_bytes)
            if not flight.listeners:
                self._flights.pop(dest, None)

    async def _locked(self, dest: Path, flight: _Flight) -> FileLock:
        path = lock_path(dest)
        await off_loop(lambda: path.parent.mkdir(parents=True, exist_ok=True))
        lock = FileLock(path, timeout=0, thread_local=False)
        is_told = False
        while True:
            try:
                await off_loop(lock.acquire)
            except Timeout:
                if not is_told:
                    logger.bind(event="fetch.waits", file=dest.name).info("Another process downloads this file")
                    is_told = True
                flight.tell(*await off_loop(ResumableFile(dest).progress))
                await self._clock.sleep(POLL_SECS)
            except asyncio.CancelledError:
                lock.release()
                raise
            else:
                return lock
