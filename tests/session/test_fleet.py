"""Fault F-128: ten thousand workers lose their studio in one moment and come back to it, in simulated time.

The waits are the worker's own (`Reconnect`), the door is the studio's own; between them lies no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from studio_worker.session.ending import SessionEnded
from studio_worker.session.reconnect import Reconnect
from studio_worker.session.timings import Timings
from studio_worker.studio.answers import Refusal
from studio_worker.studio.door import Door
from studio_worker.studio.timings import Limits
from studio_worker.studio.timings import Timings as StudioTimings

from .virtual_time import LoopClock, VirtualLoop

WORKERS = 10_000
LOST = SessionEnded("the connection was lost")


class Fleet:
    """Workers that have lost their session at time 0, and a studio that is back `outage_secs` later."""

    def __init__(self, outage_secs: float) -> None:
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop)
        self.outage_secs = outage_secs
        self.rng = Random(8)
        self.door = Door(self.clock, per_sec=Limits().joins_per_sec, longest_secs=StudioTimings().door_secs)
        self.back_at: list[float] = []
        self.sent_away = 0

    async def worker(self) -> None:
        rules = Reconnect(studio="studio", attempts=0, base_secs=1.0, settled_secs=30.0, rng=self.rng)
        while True:
            await self.clock.sleep(rules.after(LOST))
            if self.loop.time() < self.outage_secs:
                continue
            try:
                async with asyncio.timeout(Timings().upgrade_secs):
                    await self.door.enter()
            except Refusal:
                self.sent_away += 1
            else:
                self.back_at.append(self.loop.time() - self.outage_secs)
                return

    def come_back(self) -> None:
        """Let time pass until all are back."""

        async def all_of_them() -> None:
            await asyncio.gather(*(self.worker() for _ in range(WORKERS)))

        try:
            self.loop.run_until_complete(all_of_them())
        finally:
            self.loop.close()


@pytest.mark.parametrize("outage_secs", [0.0, 30.0])
def test_ten_thousand_workers_are_back_within_a_minute_and_never_too_many_at_once(
    outage_secs: float, record_property: Callable[[str, object], None]
) -> None:
    fleet = Fleet(outage_secs)
    fleet.come_back()

    back_at = sorted(fleet.back_at)
    most = max(sum(second <= at < second + 1 for at in back_at) for second in range(int(back_at[-1]) + 1))
    record_property(
        f"10,000 workers back after an outage of {outage_secs:g} s (simulated)",
        f"{back_at[-1]:.0f} s, {most} in a second at most",
    )
    assert len(back_at) == WORKERS
    assert fleet.sent_away > 0
    assert most <= Limits().joins_per_sec + 1
    assert back_at[-1] <= 60.0
