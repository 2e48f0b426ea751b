"""Offers: which queued job goes to which worker, decided in one place, one at a time."""

from __future__ import annotations

import asyncio

from studio_worker.clock import Clock
from studio_worker.log import logger
from studio_worker.studio.events import Hub
from studio_worker.studio.links import ResultLinks, needed_results
from studio_worker.studio.peer import Held, Peer, Roster
from studio_worker.studio.store.port import Store, StoreBusy
from studio_worker.studio.store.rows import Job
from studio_worker.wire.frames import Offer

PAUSE_SECS = 0.5
"""After an error, before the queue is looked at again."""


class Offers:
    """Gives the oldest fitting job to each worker that is free.

    The database's compare-and-set decides; what is kept here is only who is connected.
    """

    def __init__(self, store: Store, roster: Roster, hub: Hub, links: ResultLinks, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._hub = hub
        self._links = links
        self._clock = clock
        self._wake = asyncio.Event()

    def nudge(self) -> None:
        """Something may be offered now: a job was queued, a worker became free."""
        self._wake.set()

    async def run(self) -> None:
        """Offer for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._offer_one():
                    pass
            except StoreBusy as error:
                logger.bind(event="studio.store_busy", error=str(error)).warning("No job could be offered just now")
                await self._again()
            except Exception as error:  # noqa: BLE001 - one bad row must not stop the queue for everybody
                logger.bind(event="studio.offers_failed").opt(exception=error).error("An offer could not be made")
                await self._again()

    async def _again(self) -> None:
        await self._clock.sleep(PAUSE_SECS)
        self._wake.set()

    async def _offer_one(self) -> bool:
        """Offer one job to the earliest connected worker that is free and may have it; whether there was one."""
        free = [peer.wants() for peer in self._roster.peers() if peer.is_free]
        job = await self._store.claim_next([wants for wants in free if wants.serves]) if free else None
        if job is None or job.worker_id is None:
            return False
        peer = self._roster.get(job.worker_id)
        if peer is None:
            await self._store.release(job.worker_id, [job.id])
            return True
        try:
            claim = await self._claim(job, peer)
        except BaseException:
            await self._store.release(peer.worker_id, [job.id])
            raise
        if not peer.is_free or self._roster.get(peer.worker_id) is not peer:
            await self._store.release(peer.worker_id, [job.id])
            return True
        peer.held[job.id] = Held.of(job, self._clock.monotonic())
        peer.post(Offer(claim=claim))
        logger.bind(event="studio.offer", job_id=job.id, worker_id=peer.worker_id, attempt=job.attempt).debug(
            "Offered a job"
        )
        self._hub.publish("job", jobId=job.id, state=job.state.value, workerId=peer.worker_id, attempts=job.attempts)
        return True

    async def _claim(self, job: Job, peer: Peer) -> dict[str, object]:
        """The claim as it travels (protocol section 4)."""
        task = job.task
        if needed_results(task):
            until = self._links.until(job, self._clock.now().timestamp())
            if until != job.links_until:
                await self._store.keep_links_until(job.id, until)
            task = self._links.resolved(task, peer.origin, until)
        return {
            "jobId": job.id,
            "gameId": "",
            "assetName": "",
            "model": job.model,
            "vramGbEstimate": job.vram_gb_estimate,
            "task": task,
            "modelSource": job.model_source,
            "attempt": job.attempt,
        }
