"""The journal's upkeep: what it holds is kept within its bounds, little by little, for as long as the worker lives."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

from studio_worker.errors import StudioWorkerError
from studio_worker.jobs.journal_db import JournalDatabase
from studio_worker.jobs.journal_history import History, end_interrupted, forget_settled, give_up_others
from studio_worker.jobs.side_task import SideTask
from studio_worker.log import logger

PAUSE_SECS = 3600.0
"""Between two looks at the history: a worker that is busy adds some hundred rows meanwhile."""


class Upkeep:
    """Removes old rows. A plain object of the loop.

    Args:
        database: the journal's.
        history: how much is remembered.
        now: the wall clock, in seconds since the epoch.
        ours: the studio and the worker id of this process.
        remove: removes a spooled file.
        on_lost: told why the upkeep has ended by itself.
    """

    def __init__(
        self,
        database: JournalDatabase,
        history: History,
        now: Callable[[], float],
        *,
        ours: Callable[[], tuple[str, str]],
        remove: Callable[[str], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        self._database = database
        self._history = history
        self._now = now
        self._ours = ours
        self._remove = remove
        self._task = SideTask("journal upkeep", on_lost)

    async def settle_the_past(self) -> None:
        """End what an earlier process had begun and not finished. Raises sqlite3.Error."""
        interrupted = await self._database.run(lambda on: end_interrupted(on, self._now()))
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
        is_settled_in = False
        while True:
            try:
                while await self._database.run(self._forget_some):
                    pass
                # Not at the start: a machine that has just woken may have the time wrong by years for a while.
                if is_settled_in:
                    await self._give_up_others()
            except (sqlite3.Error, OSError, StudioWorkerError) as error:
                # The file may have to be opened anew, which says in our own words why it cannot be.
                logger.bind(event="journal.history", error=str(error)).warning("Old rows could not be removed")
            await asyncio.sleep(PAUSE_SECS)
            is_settled_in = True

    async def _give_up_others(self) -> None:
        now, ours = self._now(), self._ours()
        for file in await self._database.run(lambda on: give_up_others(on, now, self._history, ours)):
            self._remove(file)

    def _forget_some(self, connection: sqlite3.Connection) -> bool:
        return forget_settled(connection, self._now(), self._history)
