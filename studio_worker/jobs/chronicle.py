"""What happens to jobs, told once to those who follow it: events, the studio's log view, the process's log."""

from __future__ import annotations

from studio_worker.clock import Clock
from studio_worker.errors import JobError
from studio_worker.events import EventSink, JobAccepted, JobDelivered, JobFailed
from studio_worker.jobs.links import MAX_ERROR
from studio_worker.jobs.plan import Plan
from studio_worker.jobs.results import Kept
from studio_worker.log import Level, LogSink, logger
from studio_worker.text import escape

_CATEGORY = "job"


class Chronicle:
    """Tells the steps of jobs. Never holds a prompt; text from outside is escaped.

    Args:
        events: takes the typed events.
        logs: takes the lines of studio jobs that an operator of the studio sees.
        clock: what durations are measured by.
    """

    def __init__(self, events: EventSink, logs: LogSink, clock: Clock) -> None:
        self._events = events
        self._logs = logs
        self._clock = clock

    def offered(self, job_id: str, outcome: str) -> None:
        """The studio offered a job; `outcome` says in a word or two what became of the offer."""
        self._logs.add("info", _CATEGORY, f"offered: {outcome}", job_id=job_id)

    def rejected(self, job_id: str, reason: str) -> None:
        """An offer was not taken."""
        self._logs.add("info", _CATEGORY, f"offered: rejected, {reason}", job_id=job_id)
        logger.bind(event="jobs.rejected", job_id=job_id, reason=reason).info("Rejected an offer")

    def accepted(self, job_id: str, plan: Plan | None) -> None:
        """A job was taken; without a plan it is refused next."""
        if plan is None:
            self._events.emit(JobAccepted(job_id))
            self._logs.add("info", _CATEGORY, "accepted, though it cannot be run", job_id=job_id)
            return
        engine = plan.route.engine.name
        self._events.emit(JobAccepted(job_id, plan.kind, plan.model, engine, plan.origin))
        if plan.origin == "studio":
            line = f"accepted: {plan.kind.value} with {plan.model[:200]} on {engine}"
            self._logs.add("info", _CATEGORY, line, job_id=job_id)

    def delivered(self, kept: Kept, how: str = "delivered") -> None:
        """Somebody has the result."""
        seconds = self._clock.monotonic() - kept.entry.accepted_at
        self._events.emit(JobDelivered(kept.job_id, seconds, kept.artifact.size))
        if kept.entry.origin == "studio":
            self._logs.add("info", _CATEGORY, f"{how} after {seconds:.2f} s", job_id=kept.job_id)
        logger.info("Delivered a result", event="jobs.delivered", job_id=kept.job_id, seconds=round(seconds, 3))

    def failed(self, job_id: str, error: JobError, accepted_at: float, *, origin: str = "studio") -> None:
        """A job ended without a result."""
        seconds = self._clock.monotonic() - accepted_at
        text = escape(str(error), limit=MAX_ERROR)
        self._events.emit(JobFailed(job_id, text, error.retryable, seconds))
        if origin == "studio":
            again = "another try may help" if error.retryable else "final"
            self._logs.add("error", _CATEGORY, f"failed ({again}): {text}", job_id=job_id)
        logger.bind(event="jobs.failed", job_id=job_id, error=text, retryable=error.retryable).warning("A job failed")

    def waits(self, kept: Kept, why: str, level: Level = "warn") -> None:
        """A result is not delivered yet, and why."""
        self._logs.add(level, _CATEGORY, f"the result waits: {why}", job_id=kept.job_id)
        logger.bind(event="jobs.waits", job_id=kept.job_id, why=why).info("A result waits for its delivery")
