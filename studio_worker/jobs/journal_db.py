"""The journal's thread: one connection, and batches of rows that it writes in the order in which they came."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from studio_worker.daemon_thread import within
from studio_worker.jobs.hang_watch import HangWatch
from studio_worker.jobs.journal_file import (
    BUSY_SECS,
    explained,
    free_aside,
    is_damage,
    open_journal,
    primary_code,
    results_beside,
    set_aside,
    telling_damage,
)
from studio_worker.jobs.journal_row import WRITE, Row, finish
from studio_worker.log import logger
from studio_worker.transactions import transaction

_T = TypeVar("_T")

Written: TypeAlias = Sequence[tuple[Row, list[Any]]]
"""Rows with their values of the moment in which they were handed over."""

_PASSING = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
    *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN),
)
"""Errors that time may cure: another process's lock, a disk that is full, fails for a while or is away."""

MAX_RETRY_SECS = 60.0
"""The longest wait of `JournalDatabase.run_patiently`."""

_NOT_STORABLE = (ValueError, OverflowError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError)
"""Errors that are one row's own fault."""


class JournalReplaced(Exception):
    """The file is not the one that was opened: somebody removed or replaced it. The next write opens what is there."""


class JournalDatabase:
    """A SQLite file (WAL) that nobody but one thread writes. Methods are called on the event loop.

    Attributes:
        aside: where the latest damaged file lies; None while there was none.

    Args:
        path: the file.
        now: the wall clock, for the name of a damaged file.
        hangs: told when the thread waits for the disk.
        on_damage: called on the journal's thread when `run` has found the file damaged, before its answer: the new
            one knows nothing. A write says so itself.
        busy_secs: how long to wait for another process's lock.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], datetime],
        hangs: HangWatch,
        on_damage: Callable[[sqlite3.Error], None],
        *,
        busy_secs: float = BUSY_SECS,
    ) -> None:
        self.aside: Path | None = None
        self._on_damage = on_damage
        self._path = path
        self._hangs = hangs
        self._now = now
        self._busy_secs = busy_secs
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._place: tuple[int, int] | None = None

    async def open(self) -> None:
        """Open the file and start the thread.

        Raises:
            ConfigError: the file or its folder cannot be used, or comes from a newer release.
            AlreadyRunning: another process holds it locked.
        """
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="journal", daemon=True)
        self._thread.start()
        await asyncio.shield(asyncio.wrap_future(opened))

    @property
    def note(self) -> str:
        """That a new file was begun, and where what is left of the old one lies; empty where none was."""
        left = f"what was left of it lies at {self.aside}*, and a new one was begun"
        return "" if self.aside is None else f"the journal was damaged or gone: {left}"

    @property
    def results_aside(self) -> Path:
        """The folder for results that a file which was begun anew does not know."""
        return results_beside(self.aside or free_aside(self._path, self._now()))

    async def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` returns, run as one transaction; raises what it raises, and then nothing is changed.

        Where the file turns out to be damaged, it is set aside, and `work` runs on a new one.
        """
        done: Future[_T] = Future()
        self._work.put(lambda: self._answer(work, done))
        return await asyncio.shield(asyncio.wrap_future(done))

    async def run_explained(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """As `run`; an error of SQLite becomes the one that says what to do: AlreadyRunning, NoRoom or ConfigError."""
        try:
            return await self.run(work)
        except sqlite3.Error as error:
            raise explained(self._path, error) from None

    async def run_patiently(
        self,
        work: Callable[[sqlite3.Connection], _T],
        *,
        waits: Callable[[sqlite3.Error], None],
        retry_secs: float,
    ) -> _T:
        """As `run`, tried again for as long as another process, or the disk, is in the way.

        Args:
            work: what to do.
            waits: called before each wait.
            retry_secs: the first wait; the next ones are longer, a minute at most.

        Raises:
            ConfigError: it is something that no time cures.
        """
        while True:
            try:
                return await self.run(work)
            except sqlite3.Error as error:
                if primary_code(error) not in _PASSING:
                    raise explained(self._path, error) from None
                waits(error)
            await asyncio.sleep(retry_secs)
            retry_secs = min(2 * retry_secs, MAX_RETRY_SECS)

    def write(self, rows: Written, *, is_full: bool, landed: Callable[[Exception | None], None]) -> None:
        """Write rows in one transaction some time soon.

        Args:
            rows: what to write.
            is_full: whether they have to outlive a power loss when `landed` is called.
            landed: called on the journal's thread, with the error where nothing was written.
        """
        self._work.put(lambda: self._write(rows, is_full, landed))

    async def aclose(self, within_secs: float) -> None:
        """Do what was asked for, then close the file; a disk that takes longer for it is left to itself."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._work.put(None)
            await within(within_secs, thread.join, name="end of journal")

    def _serve(self, opened: Future[None]) -> None:
        try:
            self._connection = self._opened()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the opening
            opened.set_exception(error)
            return
        opened.set_result(None)
        while (job := self._work.get()) is not None:
            with self._hangs.at_work():
                job()
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()

    @property
    def _open(self) -> sqlite3.Connection:
        """The connection; opened again where a damaged file was set aside and no new one could be made then."""
        if self._connection is None:
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        # A folder that was removed while the worker runs is not made again: that is for its owner to decide.
        if self._place is not None:
            self._path.parent.stat()
        opened = open_journal(
            self._path,
            now=self._now(),
            busy_secs=self._busy_secs,
            is_start=self._place is None,
            on_aside=self._note_aside,
        )
        self._place = _place(self._path)
        return opened

    def _check_place(self) -> None:
        """SQLite goes on writing into a file that is removed. Raises FileNotFoundError, or JournalReplaced."""
        if _place(self._path) == self._place:
            return
        self._path.parent.stat()
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        raise JournalReplaced(f"the journal {self._path} was removed or replaced")

    def _note_aside(self, aside: Path) -> None:
        self.aside = aside

    def _answer(self, work: Callable[[sqlite3.Connection], _T], done: Future[_T]) -> None:
        try:
            try:
                with telling_damage():
                    answer = transaction(self._open, work)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._begin_anew(str(error))
                self._on_damage(error)
                answer = transaction(self._open, work)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
            done.set_exception(error)
        else:
            done.set_result(answer)

    def _write(self, rows: Written, is_full: bool, landed: Callable[[Exception | None], None]) -> None:
        try:
            written = [finish(row, values) for row, values in rows]
            connection = self._open
            self._check_place()
            if is_full:
                connection.execute("PRAGMA synchronous = FULL")
            try:
                with telling_damage():
                    _insert(connection, written)
            finally:
                if is_full:
                    connection.execute("PRAGMA synchronous = NORMAL")
        except Exception as error:  # noqa: BLE001 - handed to the journal, which decides
            if is_damage(error):
                self._begin_anew(str(error))
            landed(error)
        else:
            landed(None)

    def _begin_anew(self, why: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        try:
            self.aside = set_aside(self._path, self._now(), why)
        except OSError as error:
            logger.bind(event="journal.damaged", error=str(error)).error("A damaged journal could not be set aside")


def _place(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino)


def _insert(connection: sqlite3.Connection, rows: list[list[Any]]) -> None:
    try:
        transaction(connection, lambda on: on.executemany(WRITE, rows))
    except _NOT_STORABLE as error:
        if len(rows) == 1:
            logger.bind(event="journal.row", error=str(error)).error("A job could not be written into the journal")
            return
        for row in rows:
            _insert(connection, [row])
