"""What a session needs of the rooms it hands frames to; `jobs.desk.Desk` and `jobs.delivery.Delivery` are both."""

from __future__ import annotations

from typing import Protocol

from studio_worker.jobs.links import Link
from studio_worker.wire.frames import Offer


class OfferDesk(Protocol):
    """Takes offers, and knows what runs."""

    @property
    def is_paused(self) -> bool:
        """Whether offers are rejected now."""
        ...

    @property
    def current_job_id(self) -> str | None:
        """The running job, else the oldest whose result is being uploaded."""
        ...

    @property
    def current_job_ids(self) -> tuple[str, ...]:
        """All jobs that run or are being uploaded."""
        ...

    def take(self, offer: Offer, link: Link) -> None:
        """Take or refuse an offer; answers on the link."""
        ...

    def cancel(self, job_id: str, reason: str) -> bool:
        """End a job."""
        ...


class Acknowledged(Protocol):
    """Waits for the studio's word on results."""

    def acknowledge(self, job_id: str) -> None:
        """The studio has a JSON result."""
        ...

    def resume(self) -> None:
        """There is a session again."""
        ...

    def suspend(self) -> None:
        """The session is over."""
        ...
