"""Offers that break the link: after three times running, this worker lets them be (protocol section 3)."""

from __future__ import annotations

from studio_worker.clock import Clock
from studio_worker.session.ending import SessionEnded

LIMIT = 3
"""Breaches running that set an offer aside."""


class SetAside:
    """Counts sessions that ended by a breach, by the offer that came last before it.

    An offer that could be read and was followed by a breach is known by its id, and is rejected for a while. One
    that could not be read (16 MiB and more) has no id: then the worker asks for no offers at all for a while, which
    leaves the studio free to give it to another. One that comes all the same is answered as ever: it may be of a job
    that runs here.

    Args:
        clock: where the time comes from.
        aside_secs: how long an offer stays set aside.
    """

    def __init__(self, clock: Clock, aside_secs: float) -> None:
        self._clock = clock
        self._aside_secs = aside_secs
        self._offered: str | None = None
        self._suspect: str | None = None
        self._breaches = 0
        self._until: dict[str | None, float] = {}

    def offered(self, job_id: str) -> None:
        """An offer was read."""
        self._offered = job_id

    def ended(self, ended: SessionEnded) -> bool:
        """A session is over. Returns whether this set an offer aside."""
        suspect, self._offered = self._offered, None
        if not ended.is_breach:
            self._breaches = 0
            return False
        self._breaches = self._breaches + 1 if suspect == self._suspect else 1
        self._suspect = suspect
        if self._breaches < LIMIT:
            return False
        self._breaches = 0
        now = self._clock.monotonic()
        self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        self._until[suspect] = now + self._aside_secs
        return True

    def holds(self, job_id: str) -> bool:
        """Whether an offer of this job is set aside now."""
        return self._holds(job_id)

    @property
    def is_shy(self) -> bool:
        """Whether no offers are wanted now, since one that cannot be read keeps coming."""
        return self._holds(None)

    def _holds(self, job_id: str | None) -> bool:
        until = self._until.get(job_id)
        return until is not None and self._clock.monotonic() < until
