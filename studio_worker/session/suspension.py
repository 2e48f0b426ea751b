"""Noticing that the machine, or this process, was not running for a while."""

from __future__ import annotations

import time
from collections.abc import Callable


def elapsed() -> float:
    """Seconds that go on while the machine is suspended, unlike `time.monotonic` on Linux and macOS.

    Linux calls that clock CLOCK_BOOTTIME; on macOS CLOCK_MONOTONIC behaves so (and Python's own monotonic does not);
    elsewhere `time.monotonic` includes the suspended time itself.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        clock = getattr(time, "CLOCK_MONOTONIC", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class SuspensionWatch:
    """Tells how much longer than expected the time between two looks was.

    The wall clock is not asked: somebody setting it is no suspension.

    Args:
        elapsed: the clock to look at; `elapsed` of this module, or a test's.
    """

    def __init__(self, elapsed: Callable[[], float] = elapsed) -> None:
        self._elapsed = elapsed
        self._last = elapsed()

    def look(self, expected_secs: float) -> float:
        """Seconds since the last look (or the beginning) beyond `expected_secs`; never negative."""
        now = self._elapsed()
        gap, self._last = now - self._last - expected_secs, now
        return max(0.0, gap)
