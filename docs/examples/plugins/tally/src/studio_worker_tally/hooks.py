"""Writes down each job that has ended. The worker calls this off its event loop and logs its errors."""

from __future__ import annotations

from datetime import UTC, datetime

from studio_worker import JobInfo, Outcome, hookimpl
from studio_worker_tally import book


@hookimpl
def studio_worker_job_finished(job: JobInfo, outcome: Outcome) -> None:
    """A job has ended."""
    book.write(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "engine": job.engine,
            "kind": job.kind.value,
            "model": job.model,
            "status": outcome.status,
            "seconds": round(outcome.seconds, 3),
        }
    )
