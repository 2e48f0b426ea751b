"""Where offers are taken or refused: synchronous, without a lock, an await or a look at a disk.

The order of the questions is the contract's (protocol sections 3 and 5): a job of our own is adopted before anybody
asks whether there is room, and busy and paused are looked at before the claim's fields. An offer whose model files are
not known to be here keeps its seat in `weighing` until somebody has looked at the disk for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Protocol

from studio_worker.clock import Clock
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.router import Routes
from studio_worker.errors import BadClaim, EngineError, JobCancelled, JobError, LinkClosed
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.delivery import Delivery
from studio_worker.jobs.execution import Execution
from studio_worker.jobs.failures import as_job_error
from studio_worker.jobs.journal import Journal, Trouble
from studio_worker.jobs.links import Link, LocalLink, tell_failure
from studio_worker.jobs.local_queue import LocalQueue
from studio_worker.jobs.plan import LocalOrder, Plan, draw
from studio_worker.jobs.results import Artifact, Entry
from studio_worker.jobs.seats import Seat, Seats
from studio_worker.jobs.ticket import JobSnapshot, Ticket
from studio_worker.jobs.weighing import Answers, RoomStore, Weighed, Weighing
from studio_worker.log import logger
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.frames import MAX_JOB_REF, Offer, RejectCode

EXTRA_DELIVERIES = 2
"""Deliveries that may go on beside the engines, above their number (protocol section 3)."""


class DeskSettings(Protocol):
    """What the desk reads of the operator's settings."""

    @property
    def max_concurrent_jobs(self) -> int:
        """Jobs at once."""
        ...

    def device_of(self, plugin: str) -> str | None:
        """Where the models of a plugin's engines run."""
        ...


class Desk:
    """Takes offers and local orders, and knows every job that runs.

    Args:
        settings: the operator's settings of this moment.
        routes: the engines of this moment.
        execution: runs a ticket.
        delivery: knows what is kept.
        journal: told of each accepted job.
        store: knows whether the model files of an offer would fit.
        chronicle: told what happens.
        start: starts a task that somebody owns.
        quarantine: knows which engines are not to run which models now.
        clock: time.
        rng: seeds.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], DeskSettings],
        routes: Callable[[], Routes],
        execution: Execution,
        delivery: Delivery,
        journal: Journal,
        store: RoomStore,
        chronicle: Chronicle,
        start: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        quarantine: Quarantine,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._execution = execution
        self._delivery = delivery
        self._journal = journal
        self._chronicle = chronicle
        self._start = start
        self._quarantine = quarantine
        self._clock = clock
        self._rng = rng
        self._seats = Seats(lambda: settings().max_concurrent_jobs, self._fill)
        self._tickets: dict[str, Ticket] = {}
        self._waiting = LocalQueue(clock)
        self._is_paused = False
        self._is_closed = False
        self._moved = asyncio.Event()
        answers = Answers(self._closed_for, self._begin, self._reject, self._refuse)
        self._weighing = Weighing(store, answers, start=start, ended=self._moved.set)

    @property
    def is_paused(self) -> bool:
        """Whether offers are refused until `resume`."""
        return self._is_paused

    @property
    def is_closed(self) -> bool:
        """Whether the worker is draining."""
        return self._is_closed

    @property
    def takes_jobs(self) -> bool:
        """Whether an offer would be taken, were there a seat."""
        return self._closed_for() is None

    @property
    def trouble(self) -> Trouble | None:
        """Why offers are refused although nobody has paused the worker: nothing could be kept."""
        return self._journal.trouble or self._delivery.trouble

    @property
    def current_job_id(self) -> str | None:
        """The studio's job that runs, else the oldest whose result is being uploaded."""
        return next(iter(self.current_job_ids), None)

    @property
    def current_job_ids(self) -> tuple[str, ...]:
        """The studio's jobs that run, then those whose results are being uploaded, oldest first."""
        running = [ticket.job_id for ticket in self._tickets.values() if ticket.plan.origin == "studio"]
        return (*running, *self._delivery.uploading)

    def jobs(self) -> tuple[JobSnapshot, ...]:
        """The jobs that run, oldest first."""
        now = self._clock.monotonic()
        return tuple(ticket.snapshot(now) for ticket in self._tickets.values())

    def take(self, offer: Offer, link: Link) -> None:
        """Answer an offer: adopt, refuse, or take a seat and start. A link that is gone ends the matter.

        Args:
            offer: as it was read; its claim may still break the contract.
            link: the way back to whoever offered.
        """
        job_id = offer.job_id
        if len(job_id) > MAX_JOB_REF:
            logger.bind(event="jobs.offer", length=len(job_id)).warning("Skipped an offer whose jobId is endless")
            return
        try:
            mark = Fingerprint(offer.claim)
            if not self._is_adopted(job_id, mark, link):
                self._take_anew(offer, mark, link)
        except LinkClosed:
            logger.bind(event="jobs.offer", job_id=job_id).info("An offer's connection ended before its answer")

    def submit(self, order: LocalOrder, link: LocalLink) -> None:
        """Take a job of this process: it waits for a seat in turn, and its end, good or bad, comes on its link."""
        if self._is_closed:
            link.fail(JobCancelled("the worker is stopping", retryable=True))
            return
        try:
            if order.job_id in self._tickets or order.job_id in self._waiting or order.job_id in self._weighing:
                raise BadClaim("jobId", f"{order.job_id!r} is in use by another job")
            plan = self._drawn(order)
        except JobError as error:
            link.fail(error)
            return
        self._waiting.join(plan, link)
        self._fill()

    def cancel(self, job_id: str, reason: str, *, retryable: bool = False) -> bool:
        """End a job that waits or runs; its failure says ``cancelled: <reason>``.

        Args:
            job_id: the job.
            reason: who asked and why.
            retryable: whether another worker may run it.

        Returns:
            False where there is no such job, or its result is on its way already: then nothing changes.
        """
        cancellation = JobCancelled(reason, retryable=retryable)
        if self._waiting.end(job_id, cancellation):
            self._moved.set()
            return True
        if self._weighing.cancel(job_id, cancellation):
            return True
        ticket = self._tickets.get(job_id)
        return ticket is not None and ticket.cancel(cancellation)

    def pause(self) -> None:
        """Refuse offers until `resume`; what runs goes on, and so do local jobs."""
        self._is_paused = True

    def resume(self) -> None:
        """Take offers again."""
        self._is_paused = False

    def close(self) -> None:
        """Drain: take nothing new, adopt what is ours. Local jobs that wait for a seat end here."""
        self._is_closed = True
        self._waiting.end_all(JobCancelled("the worker is stopping", retryable=True))
        self._moved.set()

    async def drained(self) -> None:
        """Return once no job runs or waits for a seat or an answer; results may still be on their way."""
        while self._tickets or self._waiting or self._weighing:
            self._moved.clear()
            await self._moved.wait()

    def abandon(self, reason: str) -> None:
        """End everything that runs, so that another worker may do it: a drain's time is over."""
        self.close()
        for ticket in list(self._tickets.values()):
            ticket.cancel(JobCancelled(reason, retryable=True))

    def _is_adopted(self, job_id: str, mark: Fingerprint, link: Link) -> bool:
        """Whether the offer was about a job of ours, and is answered."""
        ticket = self._tickets.get(job_id)
        if ticket is not None:
            if ticket.entry.fingerprint != mark:
                self._reject(job_id, link, "another task runs under this id", RejectCode.BUSY)
            else:
                link.accept()
                ticket.link = link
                self._chronicle.offered(job_id, "it runs here already, adopted")
            return True
        if job_id in self._weighing:
            if not self._weighing.adopt(job_id, mark, link):
                self._reject(job_id, link, "another task of this id waits for its answer", RejectCode.BUSY)
            return True
        if self._delivery.adopt(job_id, mark, link):
            self._chronicle.offered(job_id, "its result is here already, adopted")
            return True
        return False

    def _closed_for(self) -> str | None:
        """Why no offer is taken at this moment; None: offers are taken."""
        if self._is_closed:
            return "the worker is stopping"
        if self._is_paused:
            return "the worker is paused"
        trouble = self.trouble
        return None if trouble is None else f"{trouble.code}: {trouble.detail}"

    def _take_anew(self, offer: Offer, mark: Fingerprint, link: Link) -> None:
        job_id = offer.job_id
        if (why := self._closed_for()) is not None:
            self._reject(job_id, link, why, RejectCode.PAUSED)
            return
        if self._delivery.pending >= self._seats.slots(has_capacity=link.has_capacity) + EXTRA_DELIVERIES:
            self._reject(job_id, link, "too many results wait for their delivery", RejectCode.BUSY)
            return
        seat = self._seats.take("studio", has_capacity=link.has_capacity)
        if seat is None:
            self._reject(job_id, link, "the worker is busy", RejectCode.BUSY)
            return
        try:
            plan = self._drawn(offer.claim)
            if (rest := self._quarantine.rest(plan.route.engine)) is not None:
                # Another offer may come once its start has been tried again; to fail the job would count an attempt.
                seat.leave()
                self._reject(job_id, link, rest, RejectCode.PAUSED)
                return
            if (reason := self._journal.refusal(job_id, mark)) is not None:
                raise EngineError(reason)
            if self._weighing.wants(plan):
                self._weighing.begin(Weighed(plan, link, seat, mark))
                return
            self._begin(plan, link, seat, mark)
        except JobError as error:
            seat.leave()
            self._refuse(job_id, link, error)
        except BaseException:
            seat.leave()
            raise

    def _drawn(self, asked: dict[str, Any] | LocalOrder) -> Plan:
        try:
            plan = draw(asked, self._routes(), device=self._settings().device_of, rng=self._rng)
        except RecursionError:
            raise BadClaim("claim", "is nested too deeply") from None
        if (reason := self._quarantine.refusal(plan.route.engine, plan.model)) is not None:
            raise EngineError(reason)
        return plan

    def _begin(self, plan: Plan, link: Link, seat: Seat, mark: Fingerprint) -> None:
        entry = Entry(
            job_id=plan.job_id,
            fingerprint=mark,
            kind=plan.kind,
            model=plan.model,
            engine=plan.route.engine.name,
            prompt=plan.prompt,
            accepted_at=self._clock.monotonic(),
            attempt=plan.attempt,
            origin=plan.origin,
        )
        if plan.origin == "studio":
            self._chronicle.offered(plan.job_id, "taken")
        # First the frame: where nobody listens any more, what is kept under this id stays. The row is on its way in the
        # same step; that of an old result is settled before, since it is looked for under the same id.
        link.accept()
        if plan.origin == "studio":
            self._delivery.give_way(plan.job_id)
            self._journal.accept(entry)
        ticket = Ticket(plan=plan, entry=entry, link=link, seat=seat)
        self._tickets[plan.job_id] = ticket
        self._chronicle.accepted(plan.job_id, plan)
        work = self._execution.begin(ticket)
        try:
            job = self._start(self._run(ticket, work), f"job-{plan.job_id}")
        except BaseException:
            work.cancel()
            raise
        job.add_done_callback(lambda _: self._gone(ticket, work))

    async def _run(self, ticket: Ticket, work: asyncio.Task[Artifact]) -> None:
        """The job task. A flaw in our own bookkeeping ends this job, and no other."""
        try:
            await self._execution.run(ticket, work, self._leave)
        except Exception as error:  # noqa: BLE001 - see above; it is logged where it becomes a JobError
            problem = as_job_error(error, ticket.job_id)
            if not ticket.is_ended:
                self._journal.drop(ticket.entry)
                tell_failure(ticket.link, problem, ticket.job_id)

    def _gone(self, ticket: Ticket, work: asyncio.Task[Artifact]) -> None:
        """A job task is over; one that was cancelled before its first step has waited for nobody and told nobody."""
        work.cancel()
        if isinstance(ticket.link, LocalLink):
            ticket.link.fail(JobCancelled("the worker was stopped", retryable=True))
        self._leave(ticket)
        ticket.seat.leave()

    def _leave(self, ticket: Ticket) -> None:
        """The job's end is told: an offer of it from now on is a new one."""
        if self._tickets.get(ticket.job_id) is ticket:
            del self._tickets[ticket.job_id]
            self._moved.set()

    def _refuse(self, job_id: str, link: Link, error: JobError) -> None:
        """Accept and fail: the claim cannot be run."""
        self._chronicle.offered(job_id, "taken")
        link.accept()
        self._chronicle.accepted(job_id, None)
        tell_failure(link, error, job_id)
        self._chronicle.failed(job_id, error, self._clock.monotonic())

    def _reject(self, job_id: str, link: Link, reason: str, code: RejectCode) -> None:
        link.reject(reason, code)
        self._chronicle.rejected(job_id, reason)

    def _fill(self) -> None:
        """Seat the local jobs that wait, in turn."""
        while self._waiting and not self._is_closed:
            seat = self._seats.take("local", has_capacity=True)
            if seat is None:
                return
            plan, link = self._waiting.next()
            self._begin(plan, link, seat, Fingerprint())
