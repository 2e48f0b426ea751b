"""What happens to jobs, told once to those who follow it: events, the studio's log view, the process's log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from studio_worker.clock import Clock
from studio_worker.errors import JobError
from studio_worker.events import EventSink, JobAccepted, JobDelivered, JobFailed, WorkerEvent
from studio_worker.jobs.links import MAX_ERROR
from studio_worker.jobs.plan import Plan
from studio_worker.jobs.results import Kept
from studio_worker.log import Level, LogSink, logger
from studio_worker.text import escape

MOMENT_SECS = 0.01
"""How long what goes well may wait to be told; what is told at once comes after it all the same."""

_CATEGORY = "job"


class Chronicle:
    """Tells the steps of jobs, each job's in order. Never holds a prompt; text from outside is escaped.

    What goes well is told `soon`, so that an answer to the studio need not wait for its own story; whatever is told at
    once (a failure, progress) is told after all that came before it.

    Args:
        events: takes the typed events.
        logs: takes the lines of studio jobs that an operator of the studio sees.
        clock: what durations are measured by.
        soon: calls what it is given a moment later, when the answers of now are out; by default at once.
    """

    def __init__(
        self,
        events: EventSink,
        logs: LogSink,
        clock: Clock,
        *,
        soon: Callable[[Callable[[], None]], None] = lambda tell: tell(),
    ) -> None:
        self._events = events
        self._logs = logs
        self._clock = clock
        self._soon = soon
        self._untold: deque[Callable[[], None]] = deque()

    def offered(self, job_id: str, outcome: str) -> None:
        """The studio offered a job; `outcome` says in a word or two what became of the offer."""
        self._tell_soon(lambda: self._logs.add("info", _CATEGORY, f"offered: {outcome}", job_id=job_id))

    def rejected(self, job_id: str, reason: str) -> None:
        """An offer was not taken."""
        self.tell()
        self._logs.add("info", _CATEGORY, f"offered: rejected, {reason}", job_id=job_id)
        logger.bind(event="jobs.rejected", job_id=job_id, reason=reason).info("Rejected an offer")

    def accepted(self, job_id: str, plan: Plan | None) -> None:
        """A job was taken; without a plan it is refused next."""
        self._tell_soon(lambda: self._accepted(job_id, plan))

    def delivered(self, kept: Kept, how: str = "delivered") -> None:
        """Somebody has the result."""
        seconds = self._clock.monotonic() - kept.entry.accepted_at
        self._tell_soon(lambda: self._delivered(kept, how, seconds))

    def emit(self, event: WorkerEvent) -> None:
        """Hand on an event of a job that somebody else has seen, in its turn: an `EventSink`."""
        self.tell()
        self._events.emit(event)

    def failed(self, job_id: str, error: JobError, accepted_at: float, *, origin: str = "studio") -> None:
        """A job ended without a result."""
        self.tell()
        seconds = self._clock.monotonic() - accepted_at
        text = escape(str(error), limit=MAX_ERROR)
        self._events.emit(JobFailed(job_id, text, error.retryable, seconds))
        if origin == "studio":
            again = "another try may help" if error.retryable else "final"
            self._logs.add("error", _CATEGORY, f"failed ({again}): {text}", job_id=job_id)
        logger.bind(event="jobs.failed", job_id=job_id, error=text, retryable=error.retryable).warning("A job failed")

    def waits(self, kept: Kept, why: str, level: Level = "warn") -> None:
        """A result is not delivered yet, and why."""
        self.tell()
        self._logs.add(level, _CATEGORY, f"the result waits: {why}", job_id=kept.job_id)
        logger.bind(event="jobs.waits", job_id=kept.job_id, why=why).info("A result waits for its delivery")

    def tell(self) -> None:
        """Tell now what was to be told soon."""
        while self._untold:
            self._untold.popleft()()

    def _tell_soon(self, tell: Callable[[], None]) -> None:
        self._untold.append(tell)
        if len(self._untold) == 1:
            self._soon(self.tell)

    def _accepted(self, job_id: str, plan: Plan | None) -> None:
        if plan is None:
            self._events.emit(JobAccepted(job_id))
            self._logs.add("info", _CATEGORY, "accepted, though it cannot be run", job_id=job_id)
            return
        engine = plan.route.engine.name
        self._events.emit(JobAccepted(job_id, plan.kind, plan.model, engine, plan.origin))
        if plan.origin == "studio":
            line = f"accepted: {plan.kind.value} with {plan.model[:200]} on {engine}"
            self._logs.add("info", _CATEGORY, line, job_id=job_id)

    def _delivered(self, kept: Kept, how: str, seconds: float) -> None:
        self._events.emit(JobDelivered(kept.job_id, seconds, kept.artifact.size))
        if kept.entry.origin == "studio":
            self._logs.add("info", _CATEGORY, f"{how} after {seconds:.2f} s", job_id=kept.job_id)
        logger.info("Delivered a result", event="jobs.delivered", job_id=kept.job_id, seconds=round(seconds, 3))


def in_a_moment(tell: Callable[[], None]) -> None:
    """Call `tell` on the event loop in `MOMENT_SECS`: the next offer may be on its way already."""
    asyncio.get_running_loop().call_later(MOMENT_SECS, tell)
