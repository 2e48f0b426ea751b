"""A clock for tests: time stands still until somebody moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""What a new clock's wall shows."""


class HandClock:
    """Time that passes only where somebody sleeps, which is over at once, or adds to `secs`.

    Attributes:
        secs: what `monotonic` says; for tests to move.
        pauses: the sleeps, in seconds, oldest first.

    Args:
        secs: where it begins.
    """

    def __init__(self, secs: float = 1_000.0) -> None:
        self.secs = self._began = secs
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        """Seconds, as far as they were moved."""
        return self.secs

    def now(self) -> datetime:
        """The wall clock, which moves along."""
        return MORNING + timedelta(seconds=self.secs - self._began)

    async def sleep(self, secs: float) -> None:
        """Let `secs` pass at once, and others have their turn."""
        self.pauses.append(secs)
        self.secs += secs
        await asyncio.sleep(0)
