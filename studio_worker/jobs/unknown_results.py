"""Results of other studios and worker ids, where the journal has become another file that does not know them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

from studio_worker.errors import StudioWorkerError
from studio_worker.jobs.journal_db import JournalDatabase
from studio_worker.jobs.journal_history import files_wanted
from studio_worker.jobs.journal_row import Row
from studio_worker.jobs.side_task import SideTask
from studio_worker.jobs.spool import Spool


class UnknownResults:
    """Sets aside what nobody would ever ask for again, and the next start would remove. A plain object of the loop.

    Args:
        database: the journal's.
        spool: where the files lie.
        live: the open rows by job id, which are written into the new file.
        on_lost: told why the look has ended without an outcome.
    """

    def __init__(
        self, database: JournalDatabase, spool: Spool, live: Mapping[str, Row], on_lost: Callable[[BaseException], None]
    ) -> None:
        self._database = database
        self._spool = spool
        self._live = live
        self._task = SideTask("journal aside", on_lost)

    def look(self) -> None:
        """The journal is another file now: see what it knows, and move the rest."""
        if not self._task.is_running:
            self._task.start(self._look())

    async def aclose(self) -> None:
        """Stop looking."""
        await self._task.aclose()

    async def _look(self) -> None:
        try:
            wanted = await self._database.run(files_wanted)
        except (sqlite3.Error, OSError, StudioWorkerError):
            return
        known = wanted.union(row.file for row in self._live.values())
        self._spool.set_earlier_aside(self._database.results_aside, known)
