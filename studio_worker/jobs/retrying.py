"""Uploads that are tried until the studio's answer is final, or the result is too old (protocol section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from random import Random
from typing import Protocol, TypeAlias

from studio_worker.clock import Clock
from studio_worker.errors import ResultRejected
from studio_worker.jobs.backoff import full_jitter
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.owed import Owed
from studio_worker.jobs.results import Kept
from studio_worker.jobs.settlement import Again, Answer, Done, Gone, NotOurs, Refused, SignedOut, settle
from studio_worker.log import logger

Final: TypeAlias = Done | Gone | NotOurs | Refused

RESTORED_AT_ONCE = 2
"""Uploads at once of results that an earlier process left, oldest first: a studio that was away has enough to do."""

_SIGNED_OUT = "the studio does not accept this worker's token (401)"


class Uploads(Protocol):
    """One upload, as `studio_worker.jobs.uploads.Uploader` does it."""

    async def upload(self, kept: Kept, meanwhile: Callable[[], None]) -> Answer:
        """Send one result once, and call `meanwhile` at a good time. Raises ResultRejected where it is lost."""
        ...


class RetryingUploads:
    """Uploads with backoff. A lost session does not touch them; a refused token waits for the next welcome.

    Args:
        uploads: sends one result once.
        chronicle: told that a result waits.
        clock: time, for backoff and age.
        rng: jitter.
        signed_out: called when an upload finds the token refused.
        age_secs: how old a result may get.
    """

    def __init__(
        self,
        *,
        uploads: Uploads,
        chronicle: Chronicle,
        clock: Clock,
        rng: Random,
        signed_out: Callable[[], None],
        age_secs: float,
    ) -> None:
        self._uploads = uploads
        self._chronicle = chronicle
        self._clock = clock
        self._rng = rng
        self._signed_out = signed_out
        self._age_secs = age_secs
        self._turns = asyncio.Semaphore(RESTORED_AT_ONCE)
        self._welcomes = 0
        self._welcome = asyncio.Event()

    def resume(self) -> None:
        """A session is welcome: uploads that found the token refused go on."""
        self._welcomes += 1
        welcome, self._welcome = self._welcome, asyncio.Event()
        welcome.set()

    async def until_final(self, owed: Owed) -> Final:
        """The studio's last word on a result: the answer to an upload that began after the job's latest accept.

        Raises:
            ResultRejected: ``too-old``, ``spool-lost``.
        """
        tries = refusals = 0
        while True:
            async with self._turns if owed.is_restored else nullcontext():
                accepts, welcomes = owed.accepts, self._welcomes
                owed.accepted_again.clear()
                # What has happened so far is told while the studio reads the form's head, not before.
                answer = await self._uploads.upload(owed.kept, self._chronicle.tell)
            tries += 1
            match settle(answer, tries, now=self._clock.now(), rng=self._rng):
                case Again(after_secs, why, is_asked):
                    self._check_age(owed.kept, why)
                    if tries == 1:
                        self._chronicle.waits(owed.kept, why)
                    if is_asked:
                        await self._clock.sleep(after_secs)
                    elif await self._is_accepted_within(after_secs, owed):
                        tries = 0
                case SignedOut():
                    refusals += 1
                    await self._signed_in(owed, welcomes, refusals)
                    tries = 0
                case Done() | Gone() | NotOurs() | Refused() as final:
                    if owed.accepts == accepts:
                        return final
                    tries = 0

    async def _is_accepted_within(self, secs: float, owed: Owed) -> bool:
        """Wait, unless the job is accepted again: its studio is there and has nothing to do but wait for the result."""
        sleep = asyncio.ensure_future(self._clock.sleep(secs))
        accept = asyncio.ensure_future(owed.accepted_again.wait())
        try:
            await asyncio.wait([sleep, accept], return_when=asyncio.FIRST_COMPLETED)
            return accept.done()
        finally:
            sleep.cancel()
            accept.cancel()
            await asyncio.wait([sleep, accept])

    async def _signed_in(self, owed: Owed, welcomes: int, refusals: int) -> None:
        """Wait for a welcome that is younger than the refused upload."""
        self._check_age(owed.kept, _SIGNED_OUT)
        if self._welcomes == welcomes:
            welcome = self._welcome
            self._chronicle.waits(owed.kept, _SIGNED_OUT)
            self._signed_out()
            await welcome.wait()
        if refusals > 1:
            # The session is welcome and uploads are not: no reason to ask in a tight loop.
            await self._clock.sleep(full_jitter(refusals, self._rng))

    def _check_age(self, kept: Kept, why: str) -> None:
        age = self._clock.monotonic() - kept.kept_at
        if age > self._age_secs:
            logger.bind(event="jobs.bounds", job_id=kept.job_id, why=why).error(
                "A result that the studio would not take was given up: it is too old"
            )
            raise ResultRejected("too-old", f"the result was not taken for {age / 3600:.0f} hours: {why}")
