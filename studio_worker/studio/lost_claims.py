"""Claims that a connected worker took and does not have any more."""

from __future__ import annotations

from collections.abc import Callable

from studio_worker.clock import Clock
from studio_worker.log import logger
from studio_worker.studio.events import Hub
from studio_worker.studio.patience import patiently
from studio_worker.studio.peer import Held, Peer
from studio_worker.studio.settling import Settling
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import JobState
from studio_worker.wire.frames import Heartbeat

MAX_BEATS = 3
"""Heartbeats in a row that do not name a job before its claim counts as lost."""

MAX_REMEMBERED = 1_000
"""Jobs whose losses are counted; the oldest go."""


class LostClaims:
    """Takes back what a worker's heartbeats no longer name: something else has answered its upload, say a gateway.

    By the extension `capacity` heartbeats name every job that runs and every one whose result is being uploaded, an
    upload that waits for its next try included; a JSON result is read before the next heartbeat. So a job that none
    of them names is nobody's. A result that the worker has kept all the same answers the next offer. Workers that
    name one job alone cannot be judged: theirs go back with their session.

    Args:
        store: where claims are released.
        settling: ends what is lost again and again.
        hub: told of releases.
        is_uploading: whether an upload of this worker for this job is under way.
        clock: time.
        max_losses: losses of one job after which it fails.
    """

    def __init__(
        self,
        store: Store,
        settling: Settling,
        hub: Hub,
        is_uploading: Callable[[str, str], bool],
        clock: Clock,
        *,
        max_losses: int,
    ) -> None:
        self._store = store
        self._settling = settling
        self._hub = hub
        self._is_uploading = is_uploading
        self._clock = clock
        self._max_losses = max_losses
        self._losses: dict[str, int] = {}

    async def note(self, peer: Peer, frame: Heartbeat) -> None:
        """Count what this heartbeat does not name, and take back what has not been named for long."""
        if frame.capabilities.max_concurrent_jobs is None or frame.current_job_ids is None:
            return
        named = frozenset(frame.current_job_ids)
        for held in tuple(peer.held.values()):
            # While one claim is taken back, others may be settled, and the peer may leave.
            if peer.is_gone or peer.held.get(held.job_id) is not held:
                continue
            if held.accepted_at is None or held.cancelled_at is not None:
                continue
            if held.job_id in named or self._is_uploading(peer.worker_id, held.job_id):
                held.unnamed_beats = 0
                continue
            held.unnamed_beats += 1
            if held.unnamed_beats >= MAX_BEATS:
                await self._take_back(peer, held)

    async def _take_back(self, peer: Peer, held: Held) -> None:
        """No attempt is counted, as where a session is lost; but what is lost each time must not go round for ever."""
        losses = self._losses.pop(held.job_id, 0) + 1
        logger.bind(event="studio.claim_lost", job_id=held.job_id, worker_id=peer.worker_id, losses=losses).warning(
            "A worker does not name a job that it took, and has sent no result of it; the claim is taken back"
        )
        if losses >= self._max_losses:
            await self._settling.give_up(
                peer, held, f"lost {losses} times: its worker took it, let go of it, and no result has arrived here"
            )
            return
        self._losses[held.job_id] = losses
        if len(self._losses) > MAX_REMEMBERED:
            del self._losses[next(iter(self._losses))]
        del peer.held[held.job_id]
        ids = [held.job_id]
        for job_id in await patiently(self._clock, lambda: self._store.release(peer.worker_id, ids)):
            self._hub.publish("job", jobId=job_id, state=JobState.QUEUED.value)
