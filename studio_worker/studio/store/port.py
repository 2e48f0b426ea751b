"""What the studio asks of a database, in five narrow parts. Every method is one transaction.

A database that is busy raises `StoreBusy`; nothing is half done then, and the caller may ask again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from studio_worker.errors import StudioWorkerError
from studio_worker.studio.store.rows import (
    BlobOutcome,
    Job,
    JobState,
    JsonOutcome,
    LogLine,
    Model,
    NewJob,
    Registration,
    Settled,
    Wants,
    Worker,
)


class StoreBusy(StudioWorkerError):
    """The database is locked or out of reach; nothing was written."""

    retryable = True


class AlreadyThere(StudioWorkerError):
    """A row with this id exists."""


class JobQueue(Protocol):
    """Jobs, and the moves between their states. Each move is a compare-and-set."""

    async def add_job(self, job: NewJob) -> Job:
        """Queue a job. Raises `AlreadyThere`."""
        ...

    async def job(self, job_id: str) -> Job | None:
        """One job."""
        ...

    async def jobs(self, state: JobState | None, limit: int, after: str | None) -> list[Job]:
        """Jobs, newest first; `after` names the last one already seen."""
        ...

    async def waiting(self, limit: int) -> list[Job]:
        """What is claimed, then what is queued, oldest first; tasks and sources are left empty."""
        ...

    async def finished(self, limit: int) -> list[Job]:
        """What is done, failed or cancelled, the latest first; tasks and sources are left empty."""
        ...

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        ...

    async def claim_next(self, wants: Sequence[Wants]) -> Job | None:
        """Claim a job for the first of these workers that may have one; the job's `worker_id` says whose it is.

        A worker gets the oldest queued job that it may have and whose needed results are all there.
        """
        ...

    async def release(self, worker_id: str, job_ids: Sequence[str]) -> list[str]:
        """Put these claims of the worker back into the queue, no attempt counted; the ids that moved."""
        ...

    async def claims(self) -> list[tuple[str, str]]:
        """All claims, as (worker id, job id)."""
        ...

    async def release_all(self) -> list[str]:
        """Put every claim back into the queue (a start knows no sessions)."""
        ...

    async def finish(
        self,
        job_id: str,
        worker_id: str,
        attempt: int | None,
        outcome: JsonOutcome | BlobOutcome,
        started_at: str | None,
    ) -> Job | None:
        """Mark a job done: claimed by this worker, or queued again and last claimed by it; None where it is neither.

        `attempt` is what the worker echoed: another one than the job's is refused.
        """
        ...

    async def fail(
        self, job_id: str, worker_id: str, error: str, *, retryable: bool, max_attempts: int
    ) -> Settled | None:
        """Count a failure of a claimed job: queued again below `max_attempts` where retryable, else failed."""
        ...

    async def cancel(self, job_id: str, reason: str) -> Settled | None:
        """Cancel a queued or claimed job; None where it is neither."""
        ...

    async def retry(self, job_id: str) -> Job | None:
        """Queue a finished job anew; None where it is not finished."""
        ...

    async def needs(self, job_id: str) -> list[tuple[str, JobState]]:
        """The jobs whose results this one needs, and where they stand."""
        ...

    async def keep_links_until(self, job_id: str, until: int) -> None:
        """Remember when the links inside a job's claim expire, so that a second offer carries the same ones."""
        ...

    async def blobs(self) -> set[str]:
        """The names of all blobs that jobs hold."""
        ...


class WorkerBook(Protocol):
    """Workers, and the requests to become one."""

    async def workers(self) -> list[Worker]:
        """All that are not deleted, oldest first."""
        ...

    async def worker(self, worker_id: str) -> Worker | None:
        """One worker, a deleted one too."""
        ...

    async def seen(self, worker_id: str, capabilities: dict[str, object], at: str) -> None:
        """Remember what a worker said of itself, and when."""
        ...

    async def delete_worker(self, worker_id: str, at: str) -> bool:
        """Mark a worker deleted; its row stays, so that it can be told."""
        ...

    async def ask(self, request: Registration, most: int) -> Registration | None:
        """Keep a request, or refresh the pending one of the same install and address; what is kept.

        None where it is a new one and `most` wait already.
        """
        ...

    async def registration(self, request_id: str) -> Registration | None:
        """One request."""
        ...

    async def pending(self, limit: int) -> list[Registration]:
        """The requests that wait for a decision, oldest first."""
        ...

    async def polled(self, request_id: str, at: str) -> None:
        """Remember when a request that waits was polled."""
        ...

    async def expire(self, before: str) -> list[str]:
        """Forget the requests that wait and were neither made nor polled since `before`; their ids."""
        ...

    async def approve(self, request_id: str, worker: Worker) -> bool:
        """Admit; false where the request is not pending."""
        ...

    async def reject(self, request_id: str, reason: str, at: str) -> bool:
        """Refuse; false where the request is not pending."""
        ...

    async def rotate(self, request_id: str, token_hash: str) -> bool:
        """Give the worker of an approved request a new token; false where it has none or is deleted."""
        ...


class ModelRegistry(Protocol):
    """Models by id."""

    async def models(self) -> list[Model]:
        """All, by id."""
        ...

    async def model(self, model_id: str) -> Model | None:
        """One."""
        ...

    async def add_model(self, model: Model) -> None:
        """Raises `AlreadyThere`."""
        ...

    async def put_model(self, model: Model) -> None:
        """Add or replace."""
        ...

    async def delete_model(self, model_id: str) -> bool:
        """False where there is none."""
        ...


class LogBook(Protocol):
    """What workers logged."""

    async def append_logs(self, lines: Sequence[LogLine], keep: int) -> None:
        """Add lines; beyond `keep` rows the oldest go."""
        ...

    async def logs(self, worker_id: str | None, job_id: str | None, after: int | None, limit: int) -> list[LogLine]:
        """Oldest first: the lines after `after`, or the newest `limit` where it is None."""
        ...


class Store(JobQueue, WorkerBook, ModelRegistry, LogBook, Protocol):
    """All of it, and its end."""

    async def aclose(self) -> None:
        """Finish what is under way and close."""
        ...
