"""The journal's upkeep: what it holds is kept within its bounds, little by little, for as long as the worker lives."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

from studio_worker.clock import Clock
from studio_worker.errors import StudioWorkerError
from studio_worker.jobs.journal_db import JournalDatabase
from studio_worker.jobs.journal_history import History, end_interrupted, forget_settled, give_up_others
from studio_worker.jobs.side_task import SideTask
from studio_worker.log import logger

PAUSE_SECS = 3600.0
"""Between two looks at the history: a worker that is busy adds some hundred rows meanwhile."""

STEP_SECS = 600.0
"""By how much the two clocks of a machine may differ between two looks, before the one that can be set is in doubt."""


class Upkeep:
    """Removes old rows. A plain object of the loop.

    Args:
        database: the journal's.
        history: how much is remembered.
        clock: time. The wall clock counts, since rows outlive a process; where it was set, or the machine slept, since
            the last look, nothing is too old yet.
        ours: the studio and the worker id of this process.
        remove: removes a spooled file.
        on_lost: told why the upkeep has ended by itself.
    """

    def __init__(
        self,
        database: JournalDatabase,
        history: History,
        clock: Clock,
        *,
        ours: Callable[[], tuple[str, str]],
        remove: Callable[[str], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._database = database
        self._history = history
        self._clock = clock
        self._last: tuple[float, float] | None = None
        self._ours = ours
        self._remove = remove
        self._task = SideTask("journal upkeep", on_lost)

    async def settle_the_past(self) -> None:
        """End what an earlier process had begun and not finished. Raises sqlite3.Error."""
        interrupted = await self._database.run(lambda on: end_interrupted(on, self._clock.now().timestamp()))
        if interrupted:
            logger.bind(event="journal.interrupted", jobs=interrupted).warning(
                "Jobs of an earlier process were not finished; they run again when the studio offers them"
            )

    def start(self) -> None:
        """Begin; called on the loop."""
        self._task.start(self._run())

    async def aclose(self) -> None:
        """Stop, and wait for it."""
        await self._task.aclose()

    async def _run(self) -> None:
        while True:
            now = self._sound_now()
            try:
                while await self._forget_some(now):
                    pass
                if now is not None:
                    await self._give_up_others(now)
            except (sqlite3.Error, OSError, StudioWorkerError) as error:
                # The file may have to be opened anew, which says in our own words why it cannot be.
                logger.bind(event="journal.history", error=str(error)).warning("Old rows could not be removed")
            await asyncio.sleep(PAUSE_SECS)

    def _sound_now(self) -> float | None:
        """The wall clock, in seconds since the epoch, where it has gone as fast as the other one; None at the start.

        A machine that has just woken may have the time wrong by years for a while.
        """
        last, self._last = self._last, (self._clock.now().timestamp(), self._clock.monotonic())
        if last is None:
            return None
        wall_secs, secs = (now - before for now, before in zip(self._last, last, strict=True))
        return self._last[0] if abs(wall_secs - secs) <= STEP_SECS else None

    async def _give_up_others(self, now: float) -> None:
        ours = self._ours()
        for file in await self._database.run(lambda on: give_up_others(on, now, self._history, ours)):
            self._remove(file)

    async def _forget_some(self, now: float | None) -> bool:
        return await self._database.run(lambda on: forget_settled(on, now, self._history))
