"""A clock whose pauses are over at once, and remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)


class HandClock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.secs = 1_000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.secs

    def now(self) -> datetime:
        return MORNING + timedelta(seconds=self.secs - 1_000.0)

    async def sleep(self, secs: float) -> None:
        self.pauses.append(secs)
        self.secs += secs
        await asyncio.sleep(0)
