"""Where a job's progress goes: to whoever follows events at once, to the studio at most twice a second."""

from __future__ import annotations

import asyncio

from studio_worker.events import EventSink, JobProgress
from studio_worker.jobs.previews import is_small, shrunk
from studio_worker.jobs.ticket import Ticket

INTERVAL_SECS = 0.5
"""The studio takes two frames a second (protocol section 7)."""


class LinkProgress:
    """Forwards one job's progress; the latest replaces what was not sent yet.

    Called on the event loop, by a host that has made the numbers sane and the pace bearable already.

    Args:
        ticket: the job; its link of the moment is asked each time, since an adopted job gets another one.
        events: takes every report.
        interval_secs: the least time between two frames of a studio.
    """

    def __init__(self, ticket: Ticket, events: EventSink, *, interval_secs: float = INTERVAL_SECS) -> None:
        self._ticket = ticket
        self._events = events
        self._interval_secs = interval_secs
        self._loop = asyncio.get_running_loop()
        self._waiting: JobProgress | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._shrinking = False
        self._is_closed = False

    def __call__(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Take a report."""
        if self._is_closed:
            return
        report = JobProgress(self._ticket.job_id, step, total, stage, preview)
        self._ticket.latest = report
        self._events.emit(report)
        link = self._ticket.link
        if link.origin == "local":
            link.progress(step, total, stage, preview)
        elif link.wants_progress:
            self._waiting = report
            self._wake()

    def close(self) -> None:
        """Send nothing any more: the job's terminal message comes next."""
        self._is_closed = True
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._timer is not None or self._shrinking:
            return
        wait = self._not_before - self._loop.time()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._timer = None
        report, self._waiting = self._waiting, None
        if report is None or self._is_closed:
            return
        if report.preview is None or is_small(report.preview):
            self._forward(report, report.preview)
            return
        self._shrinking = True
        encoding = self._loop.run_in_executor(None, shrunk, report.preview)
        encoding.add_done_callback(lambda done: self._shrunk(report, done))

    def _shrunk(self, report: JobProgress, done: asyncio.Future[bytes | None]) -> None:
        self._shrinking = False
        if self._is_closed or done.cancelled():
            return
        self._forward(report, None if done.exception() else done.result())
        if self._waiting is not None:
            self._wake()

    def _forward(self, report: JobProgress, preview: bytes | None) -> None:
        self._not_before = self._loop.time() + self._interval_secs
        self._ticket.link.progress(report.step, report.total, report.stage, preview)
