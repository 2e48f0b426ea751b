"""How long each stage of a job may take without a sign of life, so that a hung engine is ended and a slow one is not.

A report that says something new, another stage or another step, starts the stage's time again; one that repeats the
last does not, since a hung engine may have a thread that goes on reporting. Only the limit of the whole job ends one
that goes on stepping. Nothing waits here: whoever runs the job sleeps until `StageWatch.next_deadline`.

A download is no stage here: it ends by itself where it stalls or crawls (`fetch.transfer`), and one that another job
has begun is waited for. The job is watched from the moment in which it has its files, its device and room there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from studio_worker.clock import Clock


class Stage(StrEnum):
    """Where a job is. ``wait`` (for a seat at the engine) has no limit of its own."""

    WAIT = "wait"
    LOAD = "load"
    FIRST_OUTPUT = "first output"
    STEP = "step"
    JOB = "whole job"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLimits:
    """Seconds without news, by stage.

    Attributes:
        load_secs: for a load, besides what its bytes take; ollama's OLLAMA_LOAD_TIMEOUT is 5 minutes too.
        load_bytes_per_sec: the slowest disk that is waited for; a USB 2.0 disk reads some 30 MB/s.
        first_output_secs: from the load to the first report. An engine that reports nothing must be done by then, and
            a long prompt on a CPU takes minutes.
        step_secs: between two steps. AI Horde's worker allows 20 to 60 s on a GPU; a large picture on a CPU needs more.
        job_secs: for everything from then on, a wait for a seat at the engine included.
    """

    load_secs: float = 300.0
    load_bytes_per_sec: float = 20e6
    first_output_secs: float = 900.0
    step_secs: float = 600.0
    job_secs: float = 6 * 3600.0

    def of(self, stage: Stage, model_bytes: int) -> float | None:
        """The limit of a stage in seconds; None where it has none."""
        match stage:
            case Stage.LOAD:
                return self.load_secs + model_bytes / self.load_bytes_per_sec
            case Stage.FIRST_OUTPUT:
                return self.first_output_secs
            case Stage.STEP:
                return self.step_secs
            case Stage.JOB:
                return self.job_secs
            case Stage.WAIT:
                return None


@dataclass(frozen=True, slots=True)
class Overdue:
    """A limit that has passed. `took_secs` is the time without news, or the whole job's."""

    stage: Stage
    took_secs: float
    limit_secs: float

    def __str__(self) -> str:
        return f"stage '{self.stage}' is overdue: {self.took_secs:.0f} s, {self.limit_secs:.0f} s are allowed"


class StageWatch:
    """Watches one job, from its making on.

    Args:
        limits: what is allowed.
        clock: time.
        model_bytes: the size of the model's files.
    """

    def __init__(self, limits: StageLimits, clock: Clock, *, model_bytes: int = 0) -> None:
        self._limits = limits
        self._clock = clock
        self._model_bytes = model_bytes
        self._began = self._news = clock.monotonic()
        self._last: tuple[str, int, int] | None = None
        self.stage = Stage.WAIT

    def enter(self, stage: Stage) -> None:
        """The job is in another stage now; its time starts."""
        self.stage = stage
        self._last = None
        self._news = self._clock.monotonic()

    def report(self, stage: str, step: int, total: int) -> None:
        """A report of progress, in the engine's own words; the first one after the load ends the first output."""
        if (stage, step, total) == self._last:
            return
        if self.stage is Stage.FIRST_OUTPUT:
            self.stage = Stage.STEP
        self._last = (stage, step, total)
        self._news = self._clock.monotonic()

    def overdue(self, now: float) -> Overdue | None:
        """The limit that has passed by `now`, the stage's before the whole job's; None where all is well."""
        for stage, since in ((self.stage, self._news), (Stage.JOB, self._began)):
            limit = self._limits.of(stage, self._model_bytes)
            if limit is not None and now - since >= limit:
                return Overdue(stage, now - since, limit)
        return None

    def next_deadline(self) -> float:
        """When, on the clock's monotonic time, something is overdue unless there is news."""
        limit = self._limits.of(self.stage, self._model_bytes)
        end = self._began + self._limits.job_secs
        return end if limit is None else min(end, self._news + limit)
