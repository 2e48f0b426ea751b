"""Follows the run of one job for those who must know where it is: its stage's limit, and the count of memory."""

from __future__ import annotations

from collections.abc import Callable

from studio_worker.engines.base import ProgressCallback
from studio_worker.engines.job_watch import Held
from studio_worker.jobs.stage_limits import Stage
from studio_worker.jobs.stage_timer import StageTimer


class RunWatch:
    """A `JobWatch`, and the listener of the job's progress.

    Args:
        timer: knows the stages.
        on_loaded: told what is held for the model once it is loaded.
        on_progress: told of progress.
    """

    def __init__(self, timer: StageTimer, on_loaded: Callable[[Held], None], on_progress: ProgressCallback) -> None:
        self._timer = timer
        self._on_loaded = on_loaded
        self._on_progress = on_progress

    def taken(self) -> None:
        """The engine has begun with the load."""
        self._timer.enter(Stage.LOAD)

    def loaded(self, held: Held) -> None:
        """The load is over."""
        self._timer.enter(Stage.FIRST_OUTPUT)
        self._on_loaded(held)

    def progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """The engine has reported."""
        self._timer.report(stage, step, total)
        self._on_progress(step, total, stage, preview)
