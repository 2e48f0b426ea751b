"""What the store remembers of files: their hashes, which of them are the worker's own, their last use, who uses them.

One SQLite file in the state folder, shared by the worker and the command line. It is a memory, not a promise: one that
is damaged is set aside and begun anew (hashes are computed again, and files of before count as the operator's).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import psutil

from studio_worker.errors import ModelUnavailable
from studio_worker.log import logger
from studio_worker.models.holds import Holds, unheld
from studio_worker.models.path_keys import path_of, place_of, row_key, row_text
from studio_worker.models.records import Record, Seen, record_of
from studio_worker.private_file import make_private_folder

__all__ = ["Ledger", "Record", "Seen", "ledger_path"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT,
    owned INTEGER NOT NULL DEFAULT 0, url TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
    last_used REAL
);
CREATE TABLE IF NOT EXISTS uses (path TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL);
CREATE INDEX IF NOT EXISTS uses_path ON uses (path);
CREATE TABLE IF NOT EXISTS expected (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS models (path TEXT NOT NULL, model TEXT NOT NULL, PRIMARY KEY (path, model));
"""
_BUSY_SECS = 10.0


def ledger_path(state: Path) -> Path:
    """Where the memory lies in a state folder."""
    return state / "models.sqlite"


class Ledger:
    """The memory. Methods block for the disk and may be called from any thread.

    Args:
        path: the SQLite file, made when it is needed; None: in memory, for this life alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._holds = Holds()
        self._me = (os.getpid(), psutil.Process().create_time())

    @classmethod
    def of(cls, state: Path) -> Ledger:
        """The memory that lies in a state folder; it is not opened before it is asked."""
        return cls(ledger_path(state))

    def record(self, path: Path) -> Record | None:
        """What is remembered of the file at `path`."""
        found = self._ask("SELECT * FROM files WHERE path = ?", (row_key(path),))
        return record_of(found[0]) if found else None

    def records(self) -> list[Record]:
        """Everything that is remembered, by path."""
        return [record_of(row) for row in self._ask("SELECT * FROM files ORDER BY path", ())]

    def remember(self, seen: Seen, sha256: str) -> None:
        """Keep a file's hash for as long as its size and modification time stay the same."""
        self._change(
            "INSERT INTO files (path, size, mtime_ns, sha256) VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
            # One that somebody has put in the place of another is not the worker's, and came from nobody knows where.
            "owned = owned AND ((size = excluded.size AND mtime_ns = excluded.mtime_ns) "
            "OR sha256 IS excluded.sha256), "
            "url = CASE WHEN (size = excluded.size AND mtime_ns = excluded.mtime_ns) "
            "OR sha256 IS excluded.sha256 THEN url ELSE '' END, "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256",
            [(row_key(seen.path), seen.size, seen.mtime_ns, sha256)],
        )

    def own(self, seen: Seen, *, sha256: str, url: str, model: str, now: float) -> None:
        """Write down that the worker has made this file."""
        self._change(
            "INSERT OR REPLACE INTO files (path, size, mtime_ns, sha256, owned, url, model, last_used) "
            "VALUES (?, ?, ?, ?, 1, ?, ?, ?)",
            [(row_key(seen.path), seen.size, seen.mtime_ns, sha256, row_text(url), row_text(model), now)],
        )
        self._change("DELETE FROM models WHERE path = ?", [(row_key(seen.path),)])
        self._note_model([seen], model)
        self._change("DELETE FROM expected WHERE path = ?", [(row_key(seen.path),)])

    def begin_use(self, found: Sequence[Seen], *, model: str, now: float) -> None:
        """This process uses these files from now on; that is seen by those who have another memory too."""
        self._holds.begin(seen.path for seen in found)
        self._change(
            "INSERT INTO uses (path, pid, started) VALUES (?, ?, ?)", [(row_key(s.path), *self._me) for s in found]
        )
        self._change(
            "INSERT INTO files (path, size, mtime_ns, model, last_used) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (path) DO UPDATE SET model = excluded.model, last_used = excluded.last_used",
            [(row_key(s.path), s.size, s.mtime_ns, row_text(model), now) for s in found],
        )
        self._note_model(found, model)

    def end_use(self, paths: Collection[Path], *, now: float) -> None:
        """One use of each of these files by this process is over."""
        names = [row_key(path) for path in paths]
        self._change(
            "DELETE FROM uses WHERE rowid = "
            "(SELECT rowid FROM uses WHERE path = ? AND pid = ? AND started = ? LIMIT 1)",
            [(name, *self._me) for name in names],
        )
        self._change("UPDATE files SET last_used = ? WHERE path = ?", [(now, name) for name in names])
        self._holds.end(paths)

    def in_use(self) -> frozenset[Path]:
        """The files that a living process with this memory uses; what dead ones have left is swept out."""
        rows = self._ask("SELECT DISTINCT pid, started FROM uses", ())
        dead = [(pid, started) for pid, started in rows if not _lives(pid, started)]
        if dead:
            self._change("DELETE FROM uses WHERE pid = ? AND started = ?", dead)
        return frozenset(path_of(path) for (path,) in self._ask("SELECT DISTINCT path FROM uses", ()))

    def files_of(self, models: Collection[str]) -> frozenset[Path]:
        """The files that any of these models has used, whoever has used them since."""
        names = [(row_text(model),) for model in models]
        found = (
            row
            for name in names
            for table in ("models", "files")
            for row in self._ask(f"SELECT path FROM {table} WHERE model = ?", name)  # noqa: S608 - our own names
        )
        return frozenset(path_of(path) for (path,) in found)

    def doubt(self, path: Path) -> None:
        """A file is not what it was: keep what its hash should be, and let nobody trust it for what it is.

        Until `trust` is told of it again; a job may hash it meanwhile.
        """
        self._change(
            "INSERT OR IGNORE INTO expected SELECT path, sha256 FROM files WHERE path = ? AND sha256 IS NOT NULL",
            [(row_key(path),)],
        )
        self._change("UPDATE files SET mtime_ns = -1 WHERE path = ?", [(row_key(path),)])

    def trust(self, seen: Seen, sha256: str) -> None:
        """This hash is what the file should have."""
        self.remember(seen, sha256)
        self._change("DELETE FROM expected WHERE path = ?", [(row_key(seen.path),)])

    def disown(self, path: Path) -> None:
        """The file is the operator's: nobody removes it for a quota, whoever has brought it once."""
        self._change("UPDATE files SET owned = 0, url = '' WHERE path = ?", [(row_key(path),)])

    def expected(self) -> dict[Path, str]:
        """The files in doubt, each with the hash that it should have."""
        return {path_of(path): str(sha256) for path, sha256 in self._ask("SELECT path, sha256 FROM expected", ())}

    def unless_used(self, path: Path, remove: Callable[[], None]) -> bool:
        """Call `remove` for a file that nobody uses, and forget it; False, and nothing done, where somebody does.

        A use of the same file by another path counts too, and one by a process with another memory. Nobody can begin
        to use it meanwhile: `begin_use` waits until it is gone.

        Raises:
            OSError: what `remove` raises; the file is remembered as before.
            ModelUnavailable: nobody can say who uses the file.
        """
        problems: list[OSError] = []
        is_gone = False

        def judge(database: sqlite3.Connection) -> list[tuple[object, ...]]:
            nonlocal is_gone
            with database:
                database.execute("BEGIN IMMEDIATE")
                users = database.execute("SELECT path, pid, started FROM uses").fetchall()
                if not is_gone:
                    with unheld(path) as is_free:
                        if not is_free or self._is_used(path, users):
                            return [(False,)]
                        try:
                            remove()
                        except OSError as error:
                            problems.append(error)
                            return []
                    is_gone = True
                for table in ("files", "uses", "expected", "models"):
                    database.execute(f"DELETE FROM {table} WHERE path = ?", (row_key(path),))  # noqa: S608 - our own names
            return [(True,)]

        answer = self._tried(judge)
        if problems:
            raise problems[0]
        if is_gone:
            # Where the row could not go with it, it speaks of a file that is not there, which nobody counts.
            return True
        if answer is None:
            raise ModelUnavailable(
                f"{path} stays: {self._path} cannot be asked who uses it; see that its disk has room and try again"
            )
        return False

    def close(self) -> None:
        """Let go of the file; this process uses nothing any more."""
        if self._connection is not None:
            self._change("DELETE FROM uses WHERE pid = ? AND started = ?", [self._me])
        self._holds.end_all()
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    @staticmethod
    def _is_used(path: Path, users: Iterable[tuple[object, ...]]) -> bool:
        """Whether a living process uses the file: another one may know the models folder by another of its names."""
        place = place_of(path)
        return any(
            (row_key(path) == used or place_of(path_of(used)) == place) and _lives(pid, started)
            for used, pid, started in users
        )

    def _note_model(self, found: Sequence[Seen], model: str) -> None:
        rows = [(row_key(seen.path), row_text(model)) for seen in found]
        self._change("INSERT OR IGNORE INTO models (path, model) VALUES (?, ?)", rows)

    def _ask(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        return self._tried(lambda database: database.execute(statement, values).fetchall()) or []

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        def write(database: sqlite3.Connection) -> list[tuple[object, ...]]:
            with database:
                database.executemany(statement, rows)
            return []

        self._tried(write)

    def _tried(self, work: Callable[[sqlite3.Connection], list[tuple[object, ...]]]) -> list[tuple[object, ...]] | None:
        """A damaged file is set aside once; any other refusal costs the memory, never the job."""
        with self._lock:
            for is_last in (False, True):
                try:
                    return work(self._open())
                except sqlite3.OperationalError as error:
                    self._warn(error)
                    return None
                except sqlite3.DatabaseError as error:
                    self._warn(error)
                    if is_last:
                        return None
                    self._set_aside()
                except OSError as error:
                    self._warn(error)
                    return None
        return None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self._path is not None:
                make_private_folder(self._path.parent)
            connection = sqlite3.connect(self._path or ":memory:", timeout=_BUSY_SECS, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _set_aside(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._path is None:
            return
        if self._path.exists():
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        for ending in ("-wal", "-shm"):
            # SQLite would read the damaged file's log into the new one.
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    def _warn(self, error: Exception) -> None:
        logger.bind(event="models.ledger", file=str(self._path), error=str(error)).warning(
            "The memory of model files cannot be used; hashes are computed again and nothing is removed"
        )


def _lives(pid: object, started: object) -> bool:
    assert isinstance(pid, int)
    assert isinstance(started, float)
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.Error:
        return False
