"""What the studio knows of one connected worker, and the frames that wait for its socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from studio_worker.studio.store.rows import Job, Wants
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import CloseCode, ErrorCode, ErrorFrame, StudioFrame

EXTENSIONS = ("progress", "cancel", "capacity", "health")
"""What this studio's welcome lists (protocol section 7)."""

TRANSIENT_TEXTS = ("already busy", "paused by operator", "in-flight job")
"""Words in the reason of a reject without a code that make it transient: workers had them before there were codes."""


@dataclass(slots=True)
class Progress:
    """How far a job is. `preview` is a small encoded picture; `version` grows with each preview."""

    step: int
    total: int
    stage: str
    preview: bytes | None = None
    version: int = 0


@dataclass(slots=True)
class Held:
    """A claim that a worker holds: offered, then accepted, until one terminal message."""

    job_id: str
    attempt: int
    kind: str
    offered_at: float
    accepted_at: str | None = None
    cancelled_at: float | None = None
    progress: Progress | None = None
    unnamed_beats: int = 0
    """Heartbeats in a row that did not name it."""

    @classmethod
    def of(cls, job: Job, now: float) -> Held:
        """A claim just offered."""
        return cls(job.id, job.attempt, job.kind, now)


@dataclass(frozen=True, slots=True)
class End:
    """The order to close the socket."""

    code: int
    message: str


@dataclass(eq=False)
class Peer:
    """One connection of one worker. A plain object of the event loop.

    Args:
        worker_id: whose.
        origin: this studio as the worker sees it; links inside claims start with it.
        bound: frames that may wait for the socket.
        now: monotonic seconds.
        connected_at: RFC 3339.
    """

    worker_id: str
    origin: str
    bound: int
    now: float
    connected_at: str
    capabilities: Capabilities = field(default_factory=Capabilities)
    is_welcome: bool = False
    is_gone: bool = False
    is_resting: bool = False
    """No offer before the next heartbeat: it has just turned one down as busy or paused."""
    knows_extensions: bool = False
    last_heartbeat_at: str | None = None
    current_job_ids: tuple[str, ...] = ()
    health: dict[str, object] | None = None
    held: dict[str, Held] = field(default_factory=dict)
    declined: set[str] = field(default_factory=set)
    """Jobs that it turned down for a reason of its own: offered elsewhere first."""
    accepts_due: dict[str, int] = field(default_factory=dict)
    """Job to attempt, of jobs whose upload overtook the `accept` that was sent before it, on another connection."""
    outgoing: asyncio.Queue[StudioFrame | End] = field(init=False)
    ended: End | None = None

    def __post_init__(self) -> None:
        """Start with nothing to send."""
        self.last_heard = self.now
        self.outgoing = asyncio.Queue()

    @property
    def slots(self) -> int:
        """Offers and jobs that it may hold at once: one, or what it says by the extension `capacity`."""
        return self.capabilities.max_concurrent_jobs or 1

    @property
    def is_free(self) -> bool:
        """Whether it may be offered a job now."""
        return (
            self.is_welcome
            and not self.is_gone
            and self.ended is None
            and not self.is_resting
            and self.capabilities.auto_enabled
            and len(self.held) < self.slots
        )

    def serves(self) -> tuple[tuple[str, str | None], ...]:
        """The (kind, engine) pairs it takes; an engine of None stands for any (a worker that doesn't say)."""
        caps = self.capabilities
        if caps.sources is None:
            return tuple((kind, None) for kind in caps.task_kinds)
        return tuple((kind, engine) for kind in caps.task_kinds for engine in caps.sources.get(kind, ()))

    def could_take(self, job: Job) -> bool:
        """Whether the job is of a kind, a source and a size that it takes, busy or not."""
        if job.vram_gb_estimate > self.capabilities.vram_threshold_gb or not self.capabilities.auto_enabled:
            return False
        return any(kind == job.kind and engine in (None, job.engine) for kind, engine in self.serves())

    def wants(self) -> Wants:
        """What the queue may give it now."""
        return Wants(
            worker_id=self.worker_id,
            serves=self.serves(),
            vram_gb=self.capabilities.vram_threshold_gb,
            held=(*self.held, *self.declined),
        )

    def note_overtaken(self, held: Held) -> None:
        """Note that an upload has ended this claim before its `accept` was read; that is still on its way."""
        self.accepts_due[held.job_id] = held.attempt
        while len(self.accepts_due) > self.bound:
            del self.accepts_due[next(iter(self.accepts_due))]

    def spend_overtaken(self, job_id: str, attempt: int | None) -> bool:
        """Whether this `accept` is one that was due; it is none any more after this."""
        due = self.accepts_due.get(job_id)
        if due is None or attempt not in (None, due):
            return False
        del self.accepts_due[job_id]
        return True

    def heard(self, capabilities: Capabilities, now: float, at: str) -> bool:
        """Note what hello or a heartbeat said; whether anything in it is new."""
        is_new = capabilities != self.capabilities
        self.capabilities = capabilities
        self.last_heard = now
        self.last_heartbeat_at = at
        if capabilities.sources is not None or capabilities.max_concurrent_jobs is not None:
            self.knows_extensions = True
        return is_new

    def post(self, frame: StudioFrame) -> None:
        """Send a frame, in order; a socket that takes none for too long is ended."""
        if self.ended is not None:
            return
        if self.outgoing.qsize() >= self.bound:
            self.end(CloseCode.NORMAL, "the worker does not read")
            return
        self.outgoing.put_nowait(frame)

    def end(self, code: int, message: str, error: ErrorCode | None = None) -> None:
        """Close the socket after what was sent before; with an `error` frame first, where there is one."""
        if self.ended is not None:
            return
        if error is not None:
            self.post(ErrorFrame(code=error.value, message=message))
        self.ended = End(code, message)
        self.outgoing.put_nowait(self.ended)

    def violate(self, message: str) -> None:
        """End the session for a breach of the protocol: error frame and 4002."""
        self.end(CloseCode.PROTOCOL_VIOLATION, message, ErrorCode.PROTOCOL_VIOLATION)


class Roster:
    """Who is connected: one peer a worker, in the order in which they came."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def get(self, worker_id: str) -> Peer | None:
        """The worker's connection."""
        return self._peers.get(worker_id)

    def add(self, peer: Peer) -> None:
        """Take a connection in; the worker's older one has left before."""
        self._peers[peer.worker_id] = peer

    def remove(self, peer: Peer) -> None:
        """Take a connection out, unless a newer one stands in its place."""
        if self._peers.get(peer.worker_id) is peer:
            del self._peers[peer.worker_id]

    def peers(self) -> tuple[Peer, ...]:
        """All, earliest first."""
        return tuple(self._peers.values())

    def holder(self, job_id: str) -> Peer | None:
        """Who holds the current claim of this job."""
        return next(
            (peer for peer in self._peers.values() if (held := peer.held.get(job_id)) and held.cancelled_at is None),
            None,
        )
