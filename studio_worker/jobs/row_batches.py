"""What has changed in the journal's rows, gathered for a few milliseconds and written in one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress

from studio_worker.jobs.journal_db import JournalDatabase, JournalReplaced, Written
from studio_worker.jobs.journal_file import is_damage
from studio_worker.jobs.journal_row import COLUMNS, Row

GROUP_SECS = 0.005
"""How long rows gather before they are written together; a JSON result's is committed within twice that."""

_SETTLED_AT = COLUMNS.index("settled_at")


class RowBatches:
    """Hands rows to the journal's thread, and back to itself what that could not write. An object of the loop.

    Attributes:
        is_held_back: whether nothing gathers at the moment, because it could not be written.

    Args:
        origin: the studio's.
        live: the open rows by job id.
        retire: called on the journal's thread with the file of a settled row, once that is written.
        failed: called when a batch could not be written.
        begun_anew: called when another file than before is the journal now: the old one was damaged, gone or replaced.
    """

    def __init__(
        self,
        origin: str,
        live: Mapping[str, Row],
        *,
        retire: Callable[[str], None],
        failed: Callable[[Exception], None],
        begun_anew: Callable[[], None],
    ) -> None:
        self.is_held_back = True
        self._origin = origin
        self._live = live
        self._retire = retire
        self._failed = failed
        self._begun_anew = begun_anew
        self._changed: dict[Row, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def open(self, database: JournalDatabase) -> None:
        """Begin; called on the loop."""
        self._loop = asyncio.get_running_loop()
        self._database = database
        self.is_held_back = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to be handed over."""
        return not self._changed

    def add(self, row: Row) -> None:
        """Write a row soon."""
        self._changed[row] = None
        self.go_on()

    def go_on(self) -> None:
        """Write what has gathered soon, where it is not held back."""
        if self._changed and self._timer is None and not self.is_held_back:
            self._timer = self._loop.call_later(GROUP_SECS, self.flush)

    def commit(self, row: Row, *, is_full: bool = False) -> asyncio.Future[bool]:
        """Write everything that has changed now; done, with whether it worked, when it is written.

        Args:
            row: has changed too.
            is_full: whether it has to outlive a power loss by then.
        """
        self._changed[row] = None
        return self._commit(is_full=is_full)

    def commit_all(self) -> asyncio.Future[bool]:
        """As `commit`, to outlive a power loss, and also where nothing has changed."""
        return self._commit(is_full=True)

    def damaged(self, error: sqlite3.Error) -> None:
        """On the journal's thread: what wrote no rows has found the file damaged, and the new one knows nothing."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._landed, (), None, error)

    def _commit(self, *, is_full: bool) -> asyncio.Future[bool]:
        done: asyncio.Future[bool] = self._loop.create_future()
        self.flush(done, is_full=is_full)
        return done

    def flush(self, done: asyncio.Future[bool] | None = None, *, is_full: bool = False) -> None:
        """Hand over what has changed, now. For `done` and `is_full` see `commit`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, {}
        # Two runs of one job share a row of the file: the younger one, open or ended, is written behind the other.
        in_order = sorted(changed, key=_order) if len(changed) > 1 else changed
        rows = [(row, row.values(self._origin)) for row in in_order]

        def landed(error: Exception | None) -> None:
            if error is None:
                self._retire_files(rows)
                if done is None:
                    return
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._landed, rows, done, error)

        self._database.write(rows, is_full=is_full, landed=landed)

    def _retire_files(self, rows: Written) -> None:
        """The files of settled rows, on the journal's thread: the rows are written.

        A row that an earlier batch could not write is written twice, and its file may be another result's by then. What
        the room watch still writes for a row is asked for before that is settled, and so comes first at the spool.
        """
        for row, values in rows:
            if row.file and values[_SETTLED_AT] is not None and not row.is_retired:
                row.is_retired = True
                self._retire(row.file)

    def _landed(self, rows: Written, done: asyncio.Future[bool] | None, error: Exception | None) -> None:
        is_new = error is not None and (is_damage(error) or isinstance(error, JournalReplaced))
        if error is not None:
            self._changed = dict.fromkeys(row for row, _ in rows) | self._changed
            # A younger run's row may have been written meanwhile: an older one's must not stay over it.
            younger = (self._live.get(row.entry.job_id) for row, _ in rows)
            self._changed |= dict.fromkeys(row for row in younger if row is not None)
            if is_new:
                # The new file may know nothing: everything that is owed is written into it.
                self._changed |= dict.fromkeys(self._live.values())
        # Whoever waits is answered first, whatever those make of it who are told.
        if done is not None and not done.done():
            done.set_result(error is None)
        if is_new:
            self._begun_anew()
        if error is not None and self._changed:
            self._failed(error)


def _order(row: Row) -> tuple[bool, float]:
    """Orders the runs of one job, oldest first; an open one is always the youngest."""
    return row.settled_at is None, row.entry.accepted_at
