"""The rows that a store hands out: frozen values, free of any database."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class JobState(StrEnum):
    """Where a job stands; the values are the wire's."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job as it is queued. `needs` are the ids of the jobs whose results are its inputs."""

    id: str
    model: str
    kind: str
    engine: str
    task: dict[str, Any]
    model_source: dict[str, Any]
    vram_gb_estimate: float = 0.0
    needs: tuple[str, ...] = ()
    title: str = ""
    """What the job is about, in a few words for a list."""
    created_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands. Times are RFC 3339.

    `attempts` counts failures; `attempt` is the fence that claims carry: it grows with each counted failure and
    each retry, and stays the same where a lost session alone put the job back.
    """

    id: str
    state: JobState
    model: str
    kind: str
    engine: str
    task: dict[str, Any]
    model_source: dict[str, Any]
    title: str
    vram_gb_estimate: float
    attempts: int
    attempt: int
    worker_id: str | None
    last_worker_id: str | None
    error: str | None
    result: Any
    has_result: bool
    prompt: str | None
    blob: str | None
    media_type: str | None
    blob_bytes: int | None
    meta: dict[str, Any] | None
    links_until: int | None
    created_at: str
    started_at: str | None
    finished_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What one worker may be offered.

    `serves` are (kind, engine) pairs; an engine of None stands for any. `held` are jobs that it must not be
    offered now.
    """

    worker_id: str
    serves: tuple[tuple[str, str | None], ...]
    vram_gb: float
    held: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOutcome:
    """A JSON result, as it came over the socket."""

    result: Any
    prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobOutcome:
    """A binary result that lies in the blob folder."""

    blob: str
    media_type: str
    blob_bytes: int
    prompt: str | None = None
    meta: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """An admitted worker. Of its token only the SHA-256 is kept."""

    id: str
    token_hash: str
    install_id: str
    capabilities: dict[str, Any]
    user_agent: str
    created_at: str
    last_seen_at: str | None
    deleted_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A request to be admitted. `status` is pending, approved or rejected.

    `polled_at` is when the worker was last heard while it waits, give or take an hour.
    """

    id: str
    install_id: str
    secret_hash: str
    capabilities: dict[str, Any]
    user_agent: str
    source_ip: str
    status: str
    reason: str
    worker_id: str | None
    requested_at: str
    decided_at: str | None
    polled_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An entry of the model registry: jobs that name it need no `modelSource` of their own."""

    id: str
    kind: str
    engine: str
    model_source: dict[str, Any]
    vram_gb_estimate: float = 0.0
    enabled: bool = True
    created_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a worker's log. `seq` grows; `at` is the worker's own time."""

    seq: int = 0
    worker_id: str
    job_id: str | None
    at: str
    level: str
    category: str
    message: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What one settlement changed: the job, and the jobs that failed because they needed it."""

    job: Job
    fallen: tuple[str, ...] = field(default=())
