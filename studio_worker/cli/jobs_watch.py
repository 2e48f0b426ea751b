"""Following jobs of a studio until they have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

ENDED = frozenset({"done", "failed", "cancelled"})
"""The states that a job stays in."""


class JobLister(Protocol):
    """Who knows the jobs."""

    def jobs(self, job_ids: Collection[str] | None = None) -> list[dict[str, Any]]:
        """These jobs, or all that there are."""
        ...


def follow_to_end(
    admin: JobLister,
    job_ids: Collection[str] | None,
    tell: Callable[[Mapping[str, Any]], None],
    *,
    pause: Callable[[float], None] = time.sleep,
    interval_secs: float = 1.0,
) -> bool:
    """Tell of each job when it is first seen and whenever its state changes; returns whether all ended as done.

    Args:
        admin: who knows the jobs.
        job_ids: the jobs to follow; None: all that there are.
        tell: gets a job.
        pause: waits for a number of seconds.
        interval_secs: how long between two looks.
    """
    seen: dict[str, Any] = {}
    while True:
        found = admin.jobs(job_ids)
        for job in found:
            job_id, state = str(job.get("jobId")), job.get("state")
            if job_id not in seen or seen[job_id] != state:
                seen[job_id] = state
                tell(job)
        if all(job.get("state") in ENDED for job in found):
            return all(job.get("state") == "done" for job in found)
        pause(interval_secs)
