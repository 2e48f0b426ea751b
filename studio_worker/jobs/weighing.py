"""Offers whose model files may not fit on the disk: looked at in a thread, off the desk, before anybody accepts them.

An offer waits here with its seat, so that the desk promises nothing meanwhile. Jobs whose files are known to be here,
or that have none, never come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from studio_worker.errors import JobError, LinkClosed, ModelUnavailable
from studio_worker.jobs.failures import as_job_error
from studio_worker.jobs.links import MAX_ERROR, Link
from studio_worker.jobs.plan import Plan
from studio_worker.jobs.seats import Seat
from studio_worker.log import logger
from studio_worker.text import escape
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.frames import RejectCode
from studio_worker.wire.model_source import ModelSource

LOOK_SECS = 10.0
"""The longest that a disk may take to answer: a studio releases an offer that is not answered in 30 s."""


class RoomStore(Protocol):
    """What an offer asks of `studio_worker.models.store.Store`."""

    def needs_room(self, model: str, source: ModelSource | None) -> bool:
        """Whether there is anything to look at; never blocks."""
        ...

    async def check_room(self, model: str, source: ModelSource) -> None:
        """See whether what is missing would fit. Raises `ModelUnavailable`."""
        ...


@dataclass(eq=False, slots=True)
class Weighed:
    """An offer that waits for its answer. `link` is the latest way back to whoever offered."""

    plan: Plan
    link: Link
    seat: Seat
    mark: Fingerprint


@dataclass(frozen=True, slots=True)
class Answers:
    """How the desk answers; all but the first raise `LinkClosed` where nobody listens any more.

    Attributes:
        closed_for: why no offer is taken at this moment; None: offers are taken.
        begin: accept the job, and start it.
        reject: do not take the offer.
        refuse: accept the job, and fail it.
    """

    closed_for: Callable[[], str | None]
    begin: Callable[[Plan, Link, Seat, Fingerprint], None]
    reject: Callable[[str, Link, str, RejectCode], None]
    refuse: Callable[[str, Link, JobError], None]


class Weighing:
    """The offers that wait.

    Args:
        store: knows what is missing, and whether it would fit.
        answers: those of the desk.
        start: starts a task that somebody owns.
        ended: called when an offer has its answer.
        look_secs: how long a disk may take.
    """

    def __init__(
        self,
        store: RoomStore,
        answers: Answers,
        *,
        start: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        ended: Callable[[], None],
        look_secs: float = LOOK_SECS,
    ) -> None:
        self._store = store
        self._answers = answers
        self._start = start
        self._ended = ended
        self._look_secs = look_secs
        self._offers: dict[str, Weighed] = {}

    def __len__(self) -> int:
        return len(self._offers)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._offers

    def wants(self, plan: Plan) -> bool:
        """Whether a job's files have to be looked at first; a matter of microseconds."""
        return self._store.needs_room(plan.model, plan.source)

    def begin(self, offer: Weighed) -> None:
        """Look at the disk for an offer, and answer it then."""
        job_id = offer.plan.job_id
        self._offers[job_id] = offer
        try:
            looking = self._start(self._look(offer), f"weigh-{job_id}")
        except BaseException:
            del self._offers[job_id]
            raise
        # A task that is cancelled, before its first step too, answers nobody.
        looking.add_done_callback(lambda _: self._drop(offer))

    def adopt(self, job_id: str, mark: Fingerprint, link: Link) -> bool:
        """The same offer has come again, on another connection maybe: the answer goes there. False: it is another."""
        offer = self._offers[job_id]
        if offer.mark == mark:
            offer.link = link
        return offer.mark == mark

    def cancel(self, job_id: str, cancellation: JobError) -> bool:
        """End an offer that waits, as a job that was accepted; False where there is none."""
        offer = self._offers.get(job_id)
        if offer is None:
            return False
        self._drop(offer)
        self._answer(offer, lambda: self._answers.refuse(job_id, offer.link, cancellation))
        return True

    async def _look(self, offer: Weighed) -> None:
        problem = await self._problem(offer.plan)
        if self._offers.get(offer.plan.job_id) is not offer:
            return
        del self._offers[offer.plan.job_id]
        self._settle(offer, problem)
        self._ended()

    async def _problem(self, plan: Plan) -> JobError | None:
        if plan.source is None:
            return None
        try:
            async with asyncio.timeout(self._look_secs):
                await self._store.check_room(plan.model, plan.source)
        except TimeoutError:
            return ModelUnavailable(f"the disk of the models folder has not answered within {self._look_secs:g} s")
        except JobError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a flaw of ours is no lack of room; the job looks once more
            as_job_error(error, plan.job_id)
        return None

    def _settle(self, offer: Weighed, problem: JobError | None) -> None:
        """Answer an offer; what was true when it came may have changed."""
        plan, answers = offer.plan, self._answers
        why = answers.closed_for()
        if problem is None and why is None:
            self._answer(offer, lambda: answers.begin(plan, offer.link, offer.seat, offer.mark))
            return
        offer.seat.leave()
        code = RejectCode.PAUSED if why is not None else RejectCode.NO_SPACE
        words = why or escape(str(problem), limit=MAX_ERROR)
        self._answer(offer, lambda: answers.reject(plan.job_id, offer.link, words, code))

    def _answer(self, offer: Weighed, answer: Callable[[], None]) -> None:
        job_id = offer.plan.job_id
        try:
            answer()
        except LinkClosed:
            offer.seat.leave()
            logger.bind(event="jobs.offer", job_id=job_id).info("An offer's connection ended before its answer")
        except Exception as error:  # noqa: BLE001 - it ends this job, and no other; it is logged
            offer.seat.leave()
            problem = as_job_error(error, job_id)
            with suppress(LinkClosed):
                self._answers.refuse(job_id, offer.link, problem)

    def _drop(self, offer: Weighed) -> None:
        """Forget an offer that has no answer yet, and give its seat back."""
        if self._offers.get(offer.plan.job_id) is offer:
            del self._offers[offer.plan.job_id]
            offer.seat.leave()
            self._ended()
