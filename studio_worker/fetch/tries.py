"""Whose turn it is among the ways to a file, after which pause, and when it is enough."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from studio_worker.clock import Clock
from studio_worker.fetch.mirrors import Way

FIRST_PAUSE_SECS = 1.0
LONGEST_PAUSE_SECS = 30.0

LONGEST_REST_SECS = 300.0
"""The longest that a ``Retry-After`` is heeded: a hub counts requests over five minutes, and a job that hears nothing
of its download for ten is ended."""


class Tries:
    """Goes round the ways that are left, and counts the failures in a row.

    Args:
        ways: the addresses of the file, the preferred one first.
        clock: time.
        rng: the jitter of the pauses.
    """

    def __init__(self, ways: Sequence[Way], *, clock: Clock, rng: Random) -> None:
        self.failures = 0
        """Tries in a row that brought next to nothing."""
        self._left = list(ways)
        self._next = 0
        self._clock = clock
        self._rng = rng
        self._not_before = float("-inf")
        self._rests: dict[Way, float] = {}

    async def turn(self) -> Way:
        """The way to ask now: the next one that does not rest, or else the one whose rest is over first."""
        now = self._clock.monotonic()
        order = [*self._left[self._next :], *self._left[: self._next]]
        way = min(order, key=lambda each: max(self._rests.get(each, now), now))
        self._next = (self._left.index(way) + 1) % len(self._left)
        wait = max(self._not_before, self._rests.get(way, now)) - now
        if wait > 0:
            await self._clock.sleep(wait)
        return way

    def drop(self, way: Way) -> bool:
        """Ask a way no more; says whether another one is left."""
        at = self._left.index(way)
        self._left.remove(way)
        self._next = (self._next - (at < self._next)) % max(len(self._left), 1)
        return bool(self._left)

    def failed(self, *, has_gained: bool) -> int:
        """Count a failure; one that has brought much begins the count anew. Returns the count."""
        self.failures = 1 if has_gained else self.failures + 1
        return self.failures

    def pause(self) -> None:
        """Ask nobody for a moment: longer after each failure in a row."""
        longest = min(FIRST_PAUSE_SECS * 2 ** (self.failures - 1), LONGEST_PAUSE_SECS)
        self._not_before = self._clock.monotonic() + longest * self._rng.uniform(0.5, 1.0)

    def rest(self, way: Way, secs: float) -> None:
        """Leave one way alone for as long as its server has asked for."""
        self._rests[way] = self._clock.monotonic() + secs
