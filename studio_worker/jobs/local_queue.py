"""Local jobs that wait for a seat, first come, first served."""

from __future__ import annotations

from collections import deque

from studio_worker.errors import JobError
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.plan import Plan


class LocalQueue:
    """A line of drawn plans, each with its caller's link."""

    def __init__(self) -> None:
        self._line: deque[tuple[Plan, LocalLink]] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, job_id: object) -> bool:
        return any(plan.job_id == job_id for plan, _ in self._line)

    def join(self, plan: Plan, link: LocalLink) -> None:
        """Stand at the end of the line."""
        self._line.append((plan, link))

    def next(self) -> tuple[Plan, LocalLink]:
        """The first in the line. Raises IndexError where nobody waits."""
        return self._line.popleft()

    def end(self, job_id: str, error: JobError) -> bool:
        """End one that waits with `error`; False where there is none of this id."""
        for entry in self._line:
            if entry[0].job_id == job_id:
                self._line.remove(entry)
                entry[1].fail(error)
                return True
        return False

    def end_all(self, error: JobError) -> None:
        """End everyone who waits with `error`."""
        while self._line:
            self._line.popleft()[1].fail(error)
