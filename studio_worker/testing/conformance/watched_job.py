"""A job as an engine sees it, and what the engine does with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

from studio_worker.engines.base import EngineJob
from studio_worker.testing.conformance.print_counter import PrintCounter
from studio_worker.testing.conformance.traces import Traces
from studio_worker.wire.tasks import task_to_wire

MAX_REPORTS = 10_000
"""Reports of progress that are kept; an engine that gives more is judged by these."""


@dataclass(slots=True, kw_only=True)
class RunNotes:
    """What is known of one run.

    Attributes:
        before: what the process held when it began, where that is wanted.
        surroundings: what the process's code shares, then.
        began: monotonic seconds.
        progress: the reports, raw: step, total and stage, as they were given.
        pieces: the types of what a stream yielded.
        looked: whether the engine asked if the job is to end.
        was_told: whether it was told so.
        was_raised: whether it was told by `Cancelled`.
        printing: counts what is printed, where that is wanted.
        cancels: whether the job is cancelled in the moment in which the engine asks.
    """

    before: Traces | None
    surroundings: dict[str, str]
    began: float
    progress: list[list[Any]] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    looked: bool = False
    was_told: bool = False
    was_raised: bool = False
    cancels: bool = False
    printing: PrintCounter | None = None


@dataclass(slots=True, kw_only=True)
class WatchedJob(EngineJob):
    """The job that a watched engine gets."""

    notes: RunNotes
    asked: str

    @classmethod
    def of(cls, job: EngineJob, notes: RunNotes) -> WatchedJob:
        """`job`, with `notes` taken of it."""
        own = {each.name: getattr(job, each.name) for each in fields(EngineJob)}
        return cls(**own, notes=notes, asked=_as_text(job))

    def progress(self, step: int, total: int, *, stage: str = "run", preview: bytes | None = None) -> None:
        """As ever, and noted."""
        if len(self.notes.progress) < MAX_REPORTS:
            self.notes.progress.append([_plain(step), _plain(total), _plain(stage)])
        EngineJob.progress(self, step, total, stage=stage, preview=preview)

    @property
    def cancelled(self) -> bool:
        """As ever, and noted."""
        self._look()
        is_cancelled = self._cancel.is_set()
        self.notes.was_told |= is_cancelled
        return is_cancelled

    def check_cancelled(self) -> None:
        """As ever, and noted."""
        self._look()
        self.notes.was_told = self.notes.was_raised = self._cancel.is_set() or self.notes.was_raised
        EngineJob.check_cancelled(self)

    def _look(self) -> None:
        self.notes.looked = True
        if self.notes.cancels:
            self._cancel.set()

    def altered(self) -> bool:
        """Whether the engine has changed what it was asked for."""
        return _as_text(self) != self.asked


def _as_text(job: EngineJob) -> str:
    asked = [task_to_wire(job.task), job.seed, job.model, dict(job.inputs), dict(job.files), repr(job.options)]
    return json.dumps(asked, default=str)


def _plain(value: object) -> object:
    return value if isinstance(value, (int, float, str)) else f"<{type(value).__name__}>"
