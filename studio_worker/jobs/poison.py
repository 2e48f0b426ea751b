"""Jobs that have ended the worker's process: after three of them a job is left alone for a while."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from studio_worker.clock import Clock
from studio_worker.wire.claims import Fingerprint

MAX_DEATHS = 3
PAUSE_SECS = 3600.0
"""How long such a job is refused, counted from the last death: long enough for the studio to give it up."""


@dataclass(frozen=True, slots=True)
class Deaths:
    """How often the process ended while it had a job.

    Attributes:
        job_id: the job.
        fingerprint: of its task; another task under the same id is another job.
        count: how often.
        last_at: when it was noticed last, in seconds since the epoch.
    """

    job_id: str
    fingerprint: str
    count: int
    last_at: float


class Poison:
    """Remembers deaths until the job has come to an end of its own. A plain object of the loop.

    Args:
        clock: the wall clock counts, since deaths outlive a process; one that was set back starts the pause anew.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # By job, then by task: the fingerprint of a job that is not known is never worked out.
        self._known: dict[str, dict[str, Deaths]] = {}

    def load(self, found: Iterable[Deaths]) -> None:
        """Take over what earlier processes left."""
        for deaths in found:
            self._known.setdefault(deaths.job_id, {})[deaths.fingerprint] = deaths

    def deaths(self, job_id: str, mark: Fingerprint) -> int:
        """How often this very job has ended the process."""
        found = self._of(job_id, mark)
        return found.count if found is not None else 0

    def refusal(self, job_id: str, mark: Fingerprint) -> str | None:
        """Why the job is not to be run now; None where it may."""
        known = self._of(job_id, mark)
        if known is None or known.count < MAX_DEATHS:
            return None
        now = self._clock.now().timestamp()
        if known.last_at > now:
            # The clock was ahead then, or was set back since: the pause begins now, and ends.
            known = self._known[job_id][mark.text] = replace(known, last_at=now)
        left = known.last_at + PAUSE_SECS - now
        if left <= 0:
            return None
        minutes = max(1, round(left / 60))
        return (
            f"the worker's process has ended {known.count} times while it had this job, which is left alone here for "
            f"{minutes} min: look into the worker's log for how it died"
        )

    def forget(self, job_id: str, mark: Fingerprint) -> None:
        """The job has come to an end."""
        if job_id in self._known:
            self._known[job_id].pop(mark.text, None)

    def _of(self, job_id: str, mark: Fingerprint) -> Deaths | None:
        tasks = self._known.get(job_id)
        return tasks.get(mark.text) if tasks else None
