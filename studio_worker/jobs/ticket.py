"""One job in hand: from the moment its seat is taken until its end is told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from studio_worker.errors import JobCancelled
from studio_worker.events import JobProgress
from studio_worker.jobs.links import Link
from studio_worker.jobs.plan import Plan
from studio_worker.jobs.results import Entry
from studio_worker.jobs.seats import Seat
from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """A job as ``status`` shows it. `seconds` is since the accept; `progress` the latest report, if there was one."""

    job_id: str
    kind: TaskKind
    model: str
    engine: str
    origin: Literal["studio", "local"]
    seconds: float
    progress: JobProgress | None


@dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """A running job.

    Attributes:
        plan: what to do.
        entry: what the journal knows.
        link: where its messages go; an offer of the same job on another connection replaces it.
        seat: its place at the engine.
        work: the task that does the work; None before it has begun.
        cancellation: why the work was ended, where somebody asked for it.
        work_dir: the job's private folder, from its making until its removal is somebody else's.
        room: the memory and the device of a job that failed, to be closed once its engine has let go of them.
        latest: the latest progress.
        is_ended: whether its end was told, or handed to the delivery.
    """

    plan: Plan
    entry: Entry
    link: Link
    seat: Seat
    work: asyncio.Task[object] | None = None
    cancellation: JobCancelled | None = None
    work_dir: Path | None = None
    room: AsyncExitStack | None = None
    latest: JobProgress | None = None
    is_ended: bool = False

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.plan.job_id

    def cancel(self, cancellation: JobCancelled) -> bool:
        """End the work for this reason.

        Returns:
            False where it is too late: the work is done, and its result is on its way.
        """
        if self.is_ended or (self.work is not None and self.work.done()):
            return False
        if self.cancellation is None:
            self.cancellation = cancellation
            if self.work is not None:
                self.work.cancel()
        return True

    def snapshot(self, now: float) -> JobSnapshot:
        """The job at this moment, in monotonic seconds."""
        return JobSnapshot(
            job_id=self.job_id,
            kind=self.plan.kind,
            model=self.plan.model,
            engine=self.plan.route.engine.name,
            origin=self.plan.origin,
            seconds=now - self.entry.accepted_at,
            progress=self.latest,
        )
