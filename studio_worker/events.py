"""What happens in a worker, as frozen values that an embedder or a listener may read. Imports nothing heavy.

`WorkerEvent` is any one of them: a ``match`` over it that ends in ``assert_never`` is held complete by type checkers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events."""


@dataclass(frozen=True, slots=True)
class RegistrationChanged(Event):
    """The registration moved on. `detail` is the request id, the worker id or the reason of a rejection."""

    state: Literal["pristine", "pending", "approved", "rejected"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SessionOpened(Event):
    """The studio has said welcome."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class SessionLost(Event):
    """The session has ended; the worker reconnects in `retry_in_secs`."""

    reason: str
    retry_in_secs: float


@dataclass(frozen=True, slots=True)
class JobAccepted(Event):
    """A job was taken. `engine` is empty where the claim was refused after the accept."""

    job_id: str
    kind: TaskKind | None = None
    model: str = ""
    engine: str = ""
    origin: Literal["studio", "local"] = "studio"


@dataclass(frozen=True, slots=True)
class JobProgress(Event):
    """How far a job is; `preview` is a small encoded picture. The latest of a job replaces earlier ones.

    A `total` of 0: nobody knows how many steps there are, as in a download of unknown length.
    """

    job_id: str
    step: int
    total: int
    stage: str = "run"
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class JobDelivered(Event):
    """The studio (or the caller) has the result. `seconds` is from accept to acknowledgement."""

    job_id: str
    seconds: float
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobFailed(Event):
    """The job ended without a result."""

    job_id: str
    error: str
    retryable: bool
    seconds: float


WorkerEvent: TypeAlias = (
    RegistrationChanged | SessionOpened | SessionLost | JobAccepted | JobProgress | JobDelivered | JobFailed
)
"""Any event; `Event` is their common base."""


class EventSink(Protocol):
    """Takes events; never blocks, never raises."""

    def emit(self, event: WorkerEvent) -> None:
        """Take one event."""
        ...
