"""An event loop on which hours pass in milliseconds: where it would wait, its time jumps to the next timer instead."""

from __future__ import annotations

import asyncio
import selectors
from datetime import datetime, timedelta

from studio_worker.testing.clocks import MORNING


class _Jumps(selectors.DefaultSelector):
    """Never waits: the time until the next timer is taken as passed."""

    secs = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self.secs += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code without threads and true sockets; the same calls bring the same order of events each time."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.secs


class LoopClock:
    """The clock of whatever runs on such a loop: bounds by `asyncio.timeout` and waits on the clock agree."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        return 1_000.0 + self._loop.time()

    def now(self) -> datetime:
        return MORNING + timedelta(seconds=self._loop.time())

    async def sleep(self, secs: float) -> None:
        await asyncio.sleep(secs)
