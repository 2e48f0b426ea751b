"""Who comes, who goes, and who has gone silent."""

from __future__ import annotations

from datetime import timedelta

from studio_worker.clock import Clock, rfc3339
from studio_worker.log import logger
from studio_worker.studio.events import Hub
from studio_worker.studio.lost_claims import LostClaims
from studio_worker.studio.offers import Offers
from studio_worker.studio.patience import patiently
from studio_worker.studio.peer import Held, Peer, Roster
from studio_worker.studio.store.port import Store, StoreBusy
from studio_worker.studio.store.rows import JobState
from studio_worker.studio.timings import Timings
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import CloseCode, ErrorCode, Heartbeat, HeartbeatAck

GOING_AWAY = 1001
"""RFC 6455, section 7.4.1: the server is shutting down."""

INTERNAL_ERROR = 1011


class Presence:
    """The comings and goings of workers' connections; a claim never outlives the connection that holds it."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        hub: Hub,
        offers: Offers,
        lost_claims: LostClaims,
        clock: Clock,
        timings: Timings,
    ) -> None:
        self._store = store
        self._roster = roster
        self._hub = hub
        self._offers = offers
        self._lost_claims = lost_claims
        self._clock = clock
        self._timings = timings
        self._unheld: set[tuple[str, str]] = set()

    async def joined(self, peer: Peer) -> None:
        """A worker has connected; an older connection of the same worker ends with 4003."""
        older = self._roster.get(peer.worker_id)
        # Before anything is waited for: a third connection must find this one.
        self._roster.add(peer)
        if older is not None:
            older.end(CloseCode.DUPLICATE_WORKER, "the same worker has connected again", ErrorCode.DUPLICATE_WORKER)
            await self.left(older)

    async def greeted(self, peer: Peer, capabilities: Capabilities) -> None:
        """The worker's hello was right."""
        now = rfc3339(self._clock.now())
        peer.heard(capabilities, self._clock.monotonic(), now)
        peer.is_welcome = True
        await self._store.seen(peer.worker_id, capabilities.to_wire(), now)
        logger.bind(event="studio.connected", worker_id=peer.worker_id, machine=capabilities.machine_name).info(
            "A worker is connected"
        )
        self._changed(peer)
        self._offers.nudge()

    async def heartbeat(self, peer: Peer, frame: Heartbeat) -> None:
        """Acknowledge, note what is said, and look whether there is something to do for it."""
        peer.post(HeartbeatAck())
        now = rfc3339(self._clock.now())
        is_new = peer.heard(frame.capabilities, self._clock.monotonic(), now)
        is_new = is_new or peer.health != frame.health
        peer.health = frame.health
        peer.current_job_ids = frame.current_job_ids or ((frame.current_job_id,) if frame.current_job_id else ())
        peer.is_resting = False
        if peer.declined:
            await self._reconsider(peer)
        await self._lost_claims.note(peer, frame)
        if is_new:
            await self._store.seen(peer.worker_id, frame.capabilities.to_wire(), now)
        self._changed(peer)
        self._offers.nudge()

    async def left(self, peer: Peer) -> None:
        """A connection has ended: its claims go back into the queue, no attempt counted."""
        if peer.is_gone:
            return
        peer.is_gone = True
        self._roster.remove(peer)
        ids = [held.job_id for held in peer.held.values() if held.cancelled_at is None]
        peer.held.clear()
        if ids:
            await self._release(peer, ids)
        if peer.is_welcome:
            seen = peer.last_heartbeat_at or peer.connected_at
            await patiently(self._clock, lambda: self._store.seen(peer.worker_id, peer.capabilities.to_wire(), seen))
            logger.bind(event="studio.disconnected", worker_id=peer.worker_id, released=len(ids)).info(
                "A worker has disconnected"
            )
        self._changed(peer)
        self._offers.nudge()

    async def watch(self) -> None:
        """The alarm, for ever: drop silent sessions and registrations, release offers and claims that nobody holds."""
        while True:
            await self._clock.sleep(self._timings.sweep_secs)
            try:
                for peer in self._roster.peers():
                    await self._inspect(peer)
                await self._release_unheld()
                await self._forget_silent()
            except StoreBusy as error:
                logger.bind(event="studio.store_busy", error=str(error)).warning("The sweep is put off")
            except Exception as error:  # noqa: BLE001 - without the alarm a silent worker would keep its claim for ever
                logger.bind(event="studio.sweep_failed").opt(exception=error).error("The sweep failed")
            self._offers.nudge()

    def close_all(self) -> None:
        """The studio stops: every socket ends with 1001."""
        for peer in self._roster.peers():
            peer.end(GOING_AWAY, "the studio is stopping")

    async def _inspect(self, peer: Peer) -> None:
        now = self._clock.monotonic()
        if now - peer.last_heard > self._timings.stale_secs:
            peer.end(INTERNAL_ERROR, f"no heartbeat for {self._timings.stale_secs:g} s")
            await self.left(peer)
            return
        for held in tuple(peer.held.values()):
            if held.cancelled_at is not None:
                if now - held.cancelled_at > self._timings.cancel_secs:
                    self._drop(peer, held)
            elif held.accepted_at is None and now - held.offered_at > self._timings.offer_secs:
                peer.is_resting = True
                self._drop(peer, held)
                await self._release(peer, [held.job_id])

    async def _release_unheld(self) -> None:
        """Release claims that no connection holds: what a busy database kept from being released in time.

        A claim is seen twice in a row before it counts, since one that is just being offered has no holder yet.
        """
        unheld = {
            (worker_id, job_id)
            for worker_id, job_id in await self._store.claims()
            if (peer := self._roster.get(worker_id)) is None or job_id not in peer.held
        }
        for worker_id, job_id in unheld & self._unheld:
            for released in await self._store.release(worker_id, [job_id]):
                self._hub.publish("job", jobId=released, state=JobState.QUEUED.value)
        self._unheld = unheld

    async def _forget_silent(self) -> None:
        """Forget registrations whose workers have stopped asking for the decision; one that comes back asks anew."""
        before = self._clock.now() - timedelta(seconds=self._timings.registration_secs)
        for request_id in await self._store.expire(rfc3339(before)):
            logger.bind(event="studio.registration_expired", request_id=request_id).info(
                "A worker that asked to be admitted has not been heard for long; its request is forgotten"
            )
            self._hub.publish("pending", requestId=request_id)

    async def _release(self, peer: Peer, ids: list[str]) -> None:
        for job_id in await patiently(self._clock, lambda: self._store.release(peer.worker_id, ids), tries=100):
            self._hub.publish("job", jobId=job_id, state=JobState.QUEUED.value)

    def _drop(self, peer: Peer, held: Held) -> None:
        if peer.held.get(held.job_id) is held:
            del peer.held[held.job_id]

    async def _reconsider(self, peer: Peer) -> None:
        """Offer a job that this worker turned down to it again only where nobody else could take it."""
        others = [other for other in self._roster.peers() if other is not peer and other.is_welcome]
        for job_id in tuple(peer.declined):
            job = await self._store.job(job_id)
            is_wanted = job is not None and any(
                other.could_take(job) and job_id not in other.declined for other in others
            )
            if not is_wanted:
                peer.declined.discard(job_id)

    def _changed(self, peer: Peer) -> None:
        self._hub.publish("worker", workerId=peer.worker_id)
