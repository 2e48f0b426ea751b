"""One SQLite connection on one thread, and the numbered migrations."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from studio_worker.errors import ConfigError
from studio_worker.studio.store.port import StoreBusy
from studio_worker.transactions import transaction

_T = TypeVar("_T")
BUSY_SECS = 1.0
"""How long a transaction waits for another process's lock before `StoreBusy`."""


class Database:
    """A SQLite file (WAL) whose only user is one thread; what runs there is one transaction each.

    A commit lies on the disk before anybody hears of it: at its acknowledgement a worker forgets its own copy of a
    result, and a power loss must not take the studio's. On an SSD that is 0.3 ms a commit, of which a job takes three.

    Args:
        path: the file; made where it is missing.
        busy_secs: how long a transaction waits for a lock.

    Raises:
        ConfigError: the file cannot be opened, is no database, or comes from a newer version.
    """

    def __init__(self, path: Path, *, busy_secs: float = BUSY_SECS) -> None:
        self._path = path
        self._busy_secs = busy_secs
        self._work: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any], bool] | None] = (
            queue.SimpleQueue()
        )
        self._closed = False
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="studio-database", daemon=True)
        self._thread.start()
        opened.result()

    async def run(self, work: Callable[[sqlite3.Connection], _T], *, may_be_lost: bool = False) -> _T:
        """What `work` returns, run as one transaction on the database's thread.

        Args:
            work: what to do.
            may_be_lost: whether a power loss may undo it. Then nobody waits for the disk: what thousands of workers
                say each second would otherwise keep a slow one busy.

        Raises:
            StoreBusy: another process holds the lock; nothing was written.
        """
        if self._closed:
            raise StoreBusy("the studio's database is closed")
        done: Future[_T] = Future()
        self._work.put((work, done, may_be_lost))
        return await asyncio.shield(asyncio.wrap_future(done))

    async def aclose(self) -> None:
        """Finish what is queued, then close the file."""
        if not self._closed:
            self._closed = True
            self._work.put(None)
            await asyncio.to_thread(self._thread.join)

    def _serve(self, opened: Future[None]) -> None:
        try:
            connection = self._open()
        except (sqlite3.Error, OSError, ConfigError) as error:
            opened.set_exception(_explained(self._path, error))
            return
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the opening
            opened.set_exception(error)
            return
        opened.set_result(None)
        while (item := self._work.get()) is not None:
            work, done, may_be_lost = item
            try:
                answer = _lax(connection, work) if may_be_lost else transaction(connection, work)
            except sqlite3.OperationalError as error:
                done.set_exception(StoreBusy(f"the studio's database is busy ({error}); ask again"))
            except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
                done.set_exception(error)
            else:
                done.set_result(answer)
        connection.close()

    def _open(self) -> sqlite3.Connection:
        # SQLite gives its journal files the mode of the database, and would make that by the umask alone.
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=self._busy_secs, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # macOS empties a disk's own cache only for this; elsewhere it says nothing.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection)
        return connection


class OnDatabase:
    """The base of what keeps a part of the store on a `Database`.

    Args:
        database: where.
        now: the time that rows are stamped with, as RFC 3339.
    """

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._database = database
        self._now = now


def _lax(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """A transaction that is on the disk with the next one that has to be there."""
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        return transaction(connection, work)
    finally:
        connection.execute("PRAGMA synchronous = FULL")


def _migrate(connection: sqlite3.Connection) -> None:
    scripts = sorted(
        (entry for entry in files(__package__).joinpath("migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    known = {int(script.name.split("_", 1)[0]): script for script in scripts}
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > max(known):
        raise ConfigError(
            f"the studio's database has version {version}, and this program knows versions up to {max(known)}; "
            "update studio-worker, or choose another folder with --data"
        )
    for number in sorted(known):
        if number > version:
            text = known[number].read_text("utf-8")
            connection.executescript(f"BEGIN IMMEDIATE;\n{text}\nPRAGMA user_version = {number};\nCOMMIT;")


def _explained(path: Path, error: Exception) -> Exception:
    if isinstance(error, ConfigError):
        return error
    return ConfigError(f"the studio's database {path} cannot be used ({error}); choose another folder with --data")
