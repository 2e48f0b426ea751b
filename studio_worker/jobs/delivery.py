"""The way of kept results to the studio: sent, uploaded, tried again, kept until somebody has them (section 5).

One entry a job: JSON results go out on their claim's link and are forgotten at `completeAck`; binary ones are
uploaded by a task each, until the studio's answer is final. A lost session ends neither.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from studio_worker.clock import Clock
from studio_worker.errors import JobError, LinkClosed, ResultRejected
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.journal import Journal, Trouble
from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.links import GONE, Link, tell_failure
from studio_worker.jobs.owed import Owed, State
from studio_worker.jobs.results import Kept
from studio_worker.jobs.retrying import Final, RetryingUploads, Uploads
from studio_worker.jobs.settlement import Done, Gone, NotOurs, Refused, Settlement
from studio_worker.log import logger
from studio_worker.wire.claims import Fingerprint

RESTORED_SECS = 3600.0
"""What a result of an earlier process gets at least, however old it looks: at its start a machine may be years off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may wait for a delivery; while it is reached no new jobs are taken, and what is too old goes.

    Attributes:
        results: how many.
        total_bytes: of how many bytes together.
        memory_bytes: of how many bytes that lie in memory: answers in JSON, and every result's prompt.
        age_secs: for how long.
    """

    results: int = 1_000
    total_bytes: int = 4 * 1024**3
    memory_bytes: int = 64 * 1024**2
    age_secs: float = 7 * 24 * 3600.0


class Delivery:
    """Delivers kept results. A plain object of the loop.

    Args:
        journal: told when a result is settled.
        uploads: sends one binary result once.
        start: starts a task that somebody owns.
        chronicle: told what became of each result.
        clock: time, for backoff and age.
        rng: jitter.
        signed_out: called when an upload finds the token refused; uploads then wait for `resume`.
        bounds: how much may wait.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        uploads: Uploads,
        start: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        chronicle: Chronicle,
        clock: Clock,
        rng: Random,
        signed_out: Callable[[], None],
        bounds: Bounds | None = None,
    ) -> None:
        self._journal = journal
        self._bounds = bounds or Bounds()
        self._uploads = RetryingUploads(
            uploads=uploads,
            chronicle=chronicle,
            clock=clock,
            rng=rng,
            signed_out=signed_out,
            age_secs=self._bounds.age_secs,
        )
        self._start = start
        self._chronicle = chronicle
        self._clock = clock
        self._owed: dict[str, Owed] = {}
        self._counts: Counter[State] = Counter()
        self._bytes = self._memory_bytes = 0
        self._moved = asyncio.Event()

    @property
    def pending(self) -> int:
        """Deliveries that are going on: uploads, and JSON results until their frame is written."""
        return self._counts[State.WRITING] + self._counts[State.UPLOADING]

    @property
    def waiting(self) -> int:
        """Results that wait: for an acknowledgement, or for the studio to offer their job again."""
        return self._counts[State.SENT] + self._counts[State.SHELVED]

    @property
    def trouble(self) -> Trouble | None:
        """Why no more results can be kept: what waits has reached its bounds."""
        bounds, count = self._bounds, len(self._owed)
        if count >= bounds.results:
            waits = f"{count:,} results wait, {bounds.results:,} are the most"
        elif self._bytes >= bounds.total_bytes:
            waits = f"{count:,} results of {self._bytes:,} bytes wait, {bounds.total_bytes:,} bytes are the most"
        elif self._memory_bytes >= bounds.memory_bytes:
            most = bounds.memory_bytes
            waits = f"{self._memory_bytes:,} bytes of answers in JSON and of prompts wait, {most:,} are the most"
        else:
            return None
        return Trouble("spool_full", f"{waits}: for their delivery, or for the studio's acknowledgement")

    @property
    def uploading(self) -> tuple[str, ...]:
        """Ids of the jobs whose results are being uploaded, oldest first."""
        return tuple(job_id for job_id, owed in self._owed.items() if owed.state is State.UPLOADING)

    def post(self, kept: Kept, link: Link) -> None:
        """Deliver a result: a JSON one goes out here and now, a binary one by a task of its own."""
        self._drop(kept.job_id)
        owed = Owed(kept, link)
        self._owed[kept.job_id] = owed
        self._count(owed, 1)
        self._send(owed)
        self.give_up_old()

    def restore(self, kept: Kept, *, is_unsent: bool) -> None:
        """Take over a result of an earlier process, whose claim's connection is gone (protocol section 5).

        Args:
            kept: the result.
            is_unsent: whether a binary one is uploaded unasked; otherwise it waits until the studio offers its job.
        """
        youngest = self._clock.monotonic() - self._bounds.age_secs + RESTORED_SECS
        kept = replace(kept, kept_at=max(kept.kept_at, youngest))
        owed = Owed(kept, GONE, is_restored=True)
        self._owed[kept.job_id] = owed
        self._count(owed, 1)
        if is_unsent:
            self._send(owed)
        else:
            self._move(owed, State.SHELVED)
        self.give_up_old()

    def adopt(self, job_id: str, fingerprint: Fingerprint, link: Link) -> bool:
        """Answer an offer from what is kept.

        Returns:
            Whether the offer was accepted here; not where it is of another task under the same id.

        Raises:
            LinkClosed: the offer's connection is gone; what is kept stays.
        """
        owed = self._owed.get(job_id)
        if owed is None:
            return False
        if owed.kept.entry.fingerprint != fingerprint:
            return False
        link.accept()
        owed.link = link
        owed.accepts += 1
        owed.accepted_again.set()
        owed.kept = replace(owed.kept, entry=replace(owed.kept.entry, attempt=link.attempt))
        self._journal.mark(owed.kept, Stage.DELIVERING)
        if owed.state is not State.UPLOADING:
            self._send(owed)
        return True

    def give_way(self, job_id: str) -> None:
        """Another task was taken under this id: what is kept of the old one is dropped, and its upload ends."""
        if job_id in self._owed:
            logger.bind(event="jobs.superseded", job_id=job_id).info("A kept result gave way to another task")
            self._drop(job_id)

    def acknowledge(self, job_id: str) -> None:
        """The studio has stored a JSON result (`completeAck`)."""
        owed = self._owed.get(job_id)
        if owed is None or owed.kept.artifact.json is None:
            logger.bind(event="jobs.ack", job_id=job_id).info("An acknowledgement of nothing that waits for one")
            return
        self._forget(owed, Done())
        self._chronicle.delivered(owed.kept)

    def resume(self) -> None:
        """A session is welcome: uploads that found the token refused go on; what an older one sent waits again."""
        self.suspend()
        self._uploads.resume()

    def suspend(self) -> None:
        """A session is over: nobody acknowledges any more what it sent, which waits until its job is offered again."""
        for owed in self._owed.values():
            if owed.state is State.SENT:
                self._move(owed, State.SHELVED)

    async def flushed(self) -> None:
        """Return once no upload is under way and no written JSON result lacks its acknowledgement."""
        while self.pending or self._counts[State.SENT]:
            self._moved.clear()
            await self._moved.wait()

    def _send(self, owed: Owed) -> None:
        self._journal.mark(owed.kept, Stage.DELIVERING)
        if owed.kept.artifact.json is None:
            self._move(owed, State.UPLOADING)
            owed.task = self._start(self._deliver(owed), f"upload-{owed.kept.job_id}")
            owed.task.add_done_callback(lambda done: self._note_cancelled(owed, done))
            return
        try:
            written = owed.link.complete(owed.kept)
        except LinkClosed:
            self._shelve(owed, "the connection is gone")
            return
        owed.writing = written
        if written.done():
            self._note_written(owed, written)
        else:
            self._move(owed, State.WRITING)
            written.add_done_callback(lambda done: self._written(owed, done))

    def _written(self, owed: Owed, done: asyncio.Future[None]) -> None:
        if owed.writing is done and owed.state is State.WRITING:
            self._note_written(owed, done)

    def _note_written(self, owed: Owed, done: asyncio.Future[None]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._shelve(owed, "the connection ended before it was written")
        else:
            self._move(owed, State.SENT)

    async def _deliver(self, owed: Owed) -> None:
        try:
            settlement = await self._uploads.until_final(owed)
        except JobError as error:
            self._fail(owed, error)
        except Exception as error:  # noqa: BLE001 - one result's mishap must not end every job
            logger.bind(event="jobs.delivery", job_id=owed.kept.job_id).opt(exception=error).error("A delivery broke")
            self._fail(owed, ResultRejected("delivery-broke", f"the result could not be delivered: {error}"))
        else:
            self._settle(owed, settlement)

    def _note_cancelled(self, owed: Owed, done: asyncio.Task[None]) -> None:
        """An upload was cancelled, before its first step maybe.

        Its row stays as it is: the next offer has the result sent, or the next process does without one.
        """
        if done.cancelled() and owed.task is done and self._owed.get(owed.kept.job_id) is owed:
            self._move(owed, State.SHELVED)

    def _settle(self, owed: Owed, settlement: Final) -> None:
        owed.task = None
        match settlement:
            case Done():
                self._forget(owed, settlement)
                self._chronicle.delivered(owed.kept)
            case Gone(is_done=True):
                self._forget(owed, settlement)
                self._chronicle.delivered(owed.kept, "delivered before")
            case Gone(why=why):
                self._forget(owed, settlement)
                self._chronicle.failed(owed.kept.job_id, JobError(why), owed.kept.entry.accepted_at)
            case NotOurs(why):
                self._shelve(owed, why)
            case Refused(error):
                self._fail(owed, JobError(error), settlement)

    def _fail(self, owed: Owed, error: JobError, settlement: Settlement | None = None) -> None:
        self._forget(owed, settlement or Refused(str(error)))
        tell_failure(owed.link, error, owed.kept.job_id)
        self._chronicle.failed(owed.kept.job_id, error, owed.kept.entry.accepted_at)

    def _shelve(self, owed: Owed, why: str) -> None:
        self._move(owed, State.SHELVED)
        self._journal.mark(owed.kept, Stage.WAITING)
        self._chronicle.waits(owed.kept, why)

    def _drop(self, job_id: str) -> None:
        owed = self._owed.get(job_id)
        if owed is None:
            return
        if owed.task is not None:
            owed.task.cancel()
        self._forget(owed, Gone(False, "another task came under the same id"))

    def _forget(self, owed: Owed, settlement: Settlement) -> None:
        if self._owed.get(owed.kept.job_id) is not owed:
            return
        del self._owed[owed.kept.job_id]
        self._count(owed, -1)
        self._move(owed, None)
        self._journal.close(owed.kept, settlement)

    def _move(self, owed: Owed, state: State | None) -> None:
        if owed.state is not None:
            self._counts[owed.state] -= 1
        if state is not None:
            self._counts[state] += 1
        owed.state = state
        if state is State.SHELVED:
            # What waits for days must not hold the whole claim.
            owed.kept.entry.fingerprint.settle()
        self._moved.set()

    def give_up_old(self) -> None:
        """Give up what has waited for too long: what the studio may still ask for is kept, however much it is."""
        now = self._clock.monotonic()
        for owed in list(self._owed.values()):
            if now - owed.kept.kept_at <= self._bounds.age_secs:
                return
            if owed.state in (State.SHELVED, State.SENT):
                logger.bind(event="jobs.bounds", job_id=owed.kept.job_id).error(
                    "A result that nobody asked for was given up: it is too old"
                )
                self._forget(owed, Refused("given up: nobody asked for the result in time"))

    def _count(self, owed: Owed, sign: int) -> None:
        artifact = owed.kept.artifact
        self._bytes += sign * (artifact.size + owed.prompt_bytes)
        self._memory_bytes += sign * (owed.prompt_bytes + (0 if artifact.json is None else artifact.size))
