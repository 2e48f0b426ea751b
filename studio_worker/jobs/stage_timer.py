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

    def __enter__(self) -> StageTimer:
        """Begin with the load: an engine says nothing before that is done."""
        self._watch.enter(Stage.LOAD)
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def report(self, stage: str, step: int, total: int) -> None:
        """The engine said something: its model is loaded."""
        if self._watch.stage is Stage.LOAD:
            self._watch.enter(Stage.FIRST_OUTPUT)
        self._watch.report(stage, step, total)

    def _look(self) -> None:
        now = self._clock.monotonic()
        if (overdue := self._watch.overdue(now)) is not None:
            self._timer = None
            self._on_overdue(overdue)
        else:
            self._timer = self._loop.call_later(max(0.0, self._watch.next_deadline() - now), self._look)
