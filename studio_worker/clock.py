"""Time as an argument, so that tests own it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where a room takes its time from."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        ...

    def now(self) -> datetime:
        """The wall clock, in UTC; it may jump."""
        ...

    async def sleep(self, secs: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds that only ever grow."""
        return time.monotonic()

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, secs: float) -> None:
        """Wait."""
        await asyncio.sleep(secs)


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z, as the wire writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
