"""How soon an engine's process is started again that died at its start: at longer and longer intervals."""

from __future__ import annotations

from studio_worker.clock import Clock

FIRST_PAUSE_SECS = 1.0
"""After the first death; it doubles with each that follows."""

MAX_PAUSE_SECS = 60.0
"""What is broken is mended by an operator, who wants to see it run within a minute."""


class Restarts:
    """Counts the deaths in a row of one engine's process before its engine was built. A plain object of the loop.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deaths = 0
        self._why = ""
        self._not_before = 0.0

    def died(self, why: str) -> None:
        """It died before its engine was built; `why` is the end of a sentence of "it"."""
        self._deaths += 1
        self._why = why
        pause = min(MAX_PAUSE_SECS, FIRST_PAUSE_SECS * 2.0 ** min(self._deaths - 1, 10))
        self._not_before = self._clock.monotonic() + pause

    def succeeded(self) -> None:
        """It has worked since its engine was built: what was before is forgotten."""
        self._deaths = 0

    @property
    def rests_until(self) -> float:
        """The monotonic time until which no process is started; one that has passed where one may be."""
        return self._not_before if self._deaths else 0.0

    def refusal(self, engine: str) -> str | None:
        """Why no process is started now, and when one is; None where one may be."""
        left = self._not_before - self._clock.monotonic()
        if not self._deaths or left <= 0:
            return None
        times = "once" if self._deaths == 1 else f"{self._deaths} times in a row"
        return (
            f"the process of engine '{engine}' died {times} at its start: {self._why}; "
            f"it is started again in {max(1, round(left))} s"
        )
