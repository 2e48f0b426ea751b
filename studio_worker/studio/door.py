"""How many workers come in a second: a fleet that lost its studio at once comes back in a queue, not in a crowd."""

from __future__ import annotations

import math

from studio_worker.clock import Clock
from studio_worker.studio.answers import Refusal


class Door:
    """Lets workers in one after another at a steady pace.

    Each one that comes gets the next free moment and waits for it inside its upgrade, which any worker bears for
    15 s. Where that moment is further away it is turned back at once, and comes again by its own backoff: so the queue
    stays full for as long as there are more, and nobody waits in vain.

    Args:
        clock: time.
        per_sec: how many come in a second.
        longest_secs: the longest that one may wait.
    """

    def __init__(self, clock: Clock, *, per_sec: float, longest_secs: float) -> None:
        self._clock = clock
        self._pace_secs = 1.0 / per_sec
        self._longest_secs = longest_secs
        self._free_at = clock.monotonic()

    async def enter(self) -> None:
        """Wait for one's turn.

        Raises:
            Refusal: 503, with a Retry-After; the queue is too long.
        """
        now = self._clock.monotonic()
        turn = max(self._free_at, now)
        if turn - now > self._longest_secs:
            wait = math.ceil(turn - now)
            raise Refusal(
                503,
                f"many workers come back at once; there is room in {wait} s",
                headers={"Retry-After": str(wait)},
            )
        self._free_at = turn + self._pace_secs
        if turn > now:
            await self._clock.sleep(turn - now)
