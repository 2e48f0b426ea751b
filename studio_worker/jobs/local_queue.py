"""Local jobs that wait for a seat: first come, first served, but for those whose model was used last.

They go first, so that jobs of several models by turns do not load one for each job, until somebody has waited too long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from studio_worker.clock import Clock
from studio_worker.errors import JobError
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.plan import Plan
from studio_worker.models.residency import PATIENCE_SECS

MAX_LOOK = 100
"""How far back in the line a job of the last model is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    plan: Plan
    link: LocalLink
    since: float


class LocalQueue:
    """A line of drawn plans, each with its caller's link.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._line: deque[_Waiting] = deque()
        self._last: Plan | None = None

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, job_id: object) -> bool:
        return any(waiting.plan.job_id == job_id for waiting in self._line)

    def join(self, plan: Plan, link: LocalLink) -> None:
        """Stand at the end of the line."""
        self._line.append(_Waiting(plan, link, self._clock.monotonic()))

    def next(self) -> tuple[Plan, LocalLink]:
        """Whose turn it is. Raises IndexError where nobody waits.

        That is the first in the line; while that one has waited for less than a minute, the first of the model that
        went last, where a model has files to load.
        """
        chosen = self._line[0]
        if self._last is not None and self._clock.monotonic() - chosen.since < PATIENCE_SECS:
            ahead = (self._line[at] for at in range(min(len(self._line), MAX_LOOK)))
            chosen = next((waiting for waiting in ahead if _share_a_load(waiting.plan, self._last)), chosen)
        self._line.remove(chosen)
        self._last = chosen.plan
        return chosen.plan, chosen.link

    def end(self, job_id: str, error: JobError) -> bool:
        """End one that waits with `error`; False where there is none of this id."""
        for waiting in self._line:
            if waiting.plan.job_id == job_id:
                self._line.remove(waiting)
                waiting.link.fail(error)
                return True
        return False

    def end_all(self, error: JobError) -> None:
        """End everyone who waits with `error`."""
        while self._line:
            self._line.popleft().link.fail(error)


def _share_a_load(one: Plan, other: Plan) -> bool:
    if one.source is None or not one.source.files:
        return False
    return (one.route.engine.key, one.model) == (other.route.engine.key, other.model)
