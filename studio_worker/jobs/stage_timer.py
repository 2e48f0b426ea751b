"""Looks at a job's stage watch when it must, and says once that the job is overdue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from studio_worker.clock import Clock
from studio_worker.jobs.stage_limits import Overdue, Stage, StageWatch


class StageTimer:
    """One timer on the loop, no task: it sleeps until the next deadline, which news may have moved by then.

    Args:
        watch: knows the stages.
        clock: the same as the watch's.
        on_overdue: called once, on the loop.
    """

    def __init__(self, watch: StageWatch, clock: Clock, on_overdue: Callable[[Overdue], object]) -> None:
        self._watch = watch
        self._clock = clock
        self._on_overdue = on_overdue
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0

    def __enter__(self) -> StageTimer:
        """Begin; the job may wait for a seat at its engine."""
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._cancel()
        self._timer = None

    def enter(self, stage: Stage) -> None:
        """The job is in another stage now."""
        self._watch.enter(stage)
        self._look_earlier()

    def report(self, stage: str, step: int, total: int) -> None:
        """The engine said something; whatever it was, its model is loaded."""
        before = self._watch.stage
        if before in (Stage.WAIT, Stage.LOAD):
            self._watch.enter(Stage.FIRST_OUTPUT)
        self._watch.report(stage, step, total)
        if self._watch.stage is not before:
            self._look_earlier()

    def _look(self) -> None:
        now = self._clock.monotonic()
        if (overdue := self._watch.overdue(now)) is not None:
            self._timer = None
            self._on_overdue(overdue)
        else:
            self._looks_at = self._watch.next_deadline()
            self._timer = self._loop.call_later(max(0.0, self._looks_at - now), self._look)

    def _look_earlier(self) -> None:
        """A stage may end before the next look; one that ends later is found to be in time by that look."""
        if self._timer is not None and self._watch.next_deadline() < self._looks_at:
            self._cancel()
            self._look()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
