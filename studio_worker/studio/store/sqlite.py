"""The studio's embedded default: every part of the store on one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from studio_worker.studio.store.database import BUSY_SECS, Database
from studio_worker.studio.store.sqlite_books import SqliteLogs, SqliteModels
from studio_worker.studio.store.sqlite_jobs import SqliteJobs
from studio_worker.studio.store.sqlite_workers import SqliteWorkers


class SqliteStore(SqliteJobs, SqliteWorkers, SqliteModels, SqliteLogs):
    """Keeps `Store` (see `port`) on one file.

    Args:
        path: the database file.
        now: the time that rows are stamped with, as RFC 3339.
        busy_secs: how long a transaction waits for another process's lock.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path, now: Callable[[], str], *, busy_secs: float = BUSY_SECS) -> None:
        super().__init__(Database(path, busy_secs=busy_secs), now)

    async def aclose(self) -> None:
        """Finish what is under way and close the file."""
        await self._database.aclose()
