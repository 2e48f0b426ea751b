"""What the store remembers of files: their hashes, which of them are the worker's own, their last use, who uses them.

One SQLite file in the state folder, shared by the worker and the command line. It is a memory, not a promise: one that
is damaged is set aside and begun anew (hashes are computed again, and files of before count as the operator's).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from studio_worker.errors import ModelUnavailable
from studio_worker.log import logger
from studio_worker.private_file import make_private_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT,
    owned INTEGER NOT NULL DEFAULT 0, url TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '',
    last_used REAL
);
CREATE TABLE IF NOT EXISTS uses (path TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL);
CREATE INDEX IF NOT EXISTS uses_path ON uses (path);
CREATE TABLE IF NOT EXISTS expected (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
"""
_BUSY_SECS = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file was when it was looked at."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one file.

    Attributes:
        path: where it lies.
        size: bytes.
        mtime_ns: its modification time; another one, or another size, is another file.
        sha256: its hash, None where nobody computed it.
        is_owned: whether the worker made the file, and so may remove it.
        url: where it came from, without the query; empty: not known.
        model: the model that used it last.
        last_used: seconds since the epoch, None: never.
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str | None
    is_owned: bool
    url: str
    model: str
    last_used: float | None

    def is_of(self, seen: Seen) -> bool:
        """Whether it speaks of the very file that was seen."""
        return (self.size, self.mtime_ns) == (seen.size, seen.mtime_ns)


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
        self._me = (os.getpid(), psutil.Process().create_time())

    @classmethod
    def of(cls, state: Path) -> Ledger:
        """The memory that lies in a state folder; it is not opened before it is asked."""
        return cls(ledger_path(state))

    def record(self, path: Path) -> Record | None:
        """What is remembered of the file at `path`."""
        found = self._ask("SELECT * FROM files WHERE path = ?", (str(path),))
        return _record(found[0]) if found else None

    def records(self) -> list[Record]:
        """Everything that is remembered, by path."""
        return [_record(row) for row in self._ask("SELECT * FROM files ORDER BY path", ())]

    def remember(self, seen: Seen, sha256: str) -> None:
        """Keep a file's hash for as long as its size and modification time stay the same."""
        self._change(
            "INSERT INTO files (path, size, mtime_ns, sha256) VALUES (?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
            # A file that somebody has replaced by another one is the worker's no more.
            "owned = owned AND ((size = excluded.size AND mtime_ns = excluded.mtime_ns) "
            "OR sha256 IS excluded.sha256), "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256",
            [(str(seen.path), seen.size, seen.mtime_ns, sha256)],
        )

    def own(self, seen: Seen, *, sha256: str, url: str, model: str, now: float) -> None:
        """Write down that the worker has made this file."""
        self._change(
            "INSERT OR REPLACE INTO files (path, size, mtime_ns, sha256, owned, url, model, last_used) "
            "VALUES (?, ?, ?, ?, 1, ?, ?, ?)",
            [(str(seen.path), seen.size, seen.mtime_ns, sha256, url, model, now)],
        )
        self._change("DELETE FROM expected WHERE path = ?", [(str(seen.path),)])

    def begin_use(self, found: Sequence[Seen], *, model: str, now: float) -> None:
        """This process uses these files from now on."""
        self._change(
            "INSERT INTO uses (path, pid, started) VALUES (?, ?, ?)", [(str(s.path), *self._me) for s in found]
        )
        self._change(
            "INSERT INTO files (path, size, mtime_ns, model, last_used) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (path) DO UPDATE SET model = excluded.model, last_used = excluded.last_used",
            [(str(s.path), s.size, s.mtime_ns, model, now) for s in found],
        )

    def end_use(self, paths: Iterable[Path], *, now: float) -> None:
        """One use of each of these files by this process is over."""
        names = [str(path) for path in paths]
        self._change(
            "DELETE FROM uses WHERE rowid = "
            "(SELECT rowid FROM uses WHERE path = ? AND pid = ? AND started = ? LIMIT 1)",
            [(name, *self._me) for name in names],
        )
        self._change("UPDATE files SET last_used = ? WHERE path = ?", [(now, name) for name in names])

    def in_use(self) -> frozenset[Path]:
        """The files that a living process uses; what dead ones have left is swept out."""
        rows = self._ask("SELECT DISTINCT pid, started FROM uses", ())
        dead = [(pid, started) for pid, started in rows if not _lives(pid, started)]
        if dead:
            self._change("DELETE FROM uses WHERE pid = ? AND started = ?", dead)
        return frozenset(Path(str(path)) for (path,) in self._ask("SELECT DISTINCT path FROM uses", ()))

    def doubt(self, path: Path) -> None:
        """A file is not what it was: keep what its hash should be, and let nobody trust it for what it is.

        Until `trust` is told of it again; a job may hash it meanwhile.
        """
        self._change(
            "INSERT OR IGNORE INTO expected SELECT path, sha256 FROM files WHERE path = ? AND sha256 IS NOT NULL",
            [(str(path),)],
        )
        self._change("UPDATE files SET mtime_ns = -1 WHERE path = ?", [(str(path),)])

    def trust(self, seen: Seen, sha256: str) -> None:
        """This hash is what the file should have."""
        self.remember(seen, sha256)
        self._change("DELETE FROM expected WHERE path = ?", [(str(seen.path),)])

    def disown(self, path: Path) -> None:
        """The file is the operator's: nobody removes it for a quota, whoever has brought it once."""
        self._change("UPDATE files SET owned = 0, url = '' WHERE path = ?", [(str(path),)])

    def expected(self) -> dict[Path, str]:
        """The files in doubt, each with the hash that it should have."""
        return {Path(str(path)): str(sha256) for path, sha256 in self._ask("SELECT path, sha256 FROM expected", ())}

    def unless_used(self, path: Path, remove: Callable[[], None]) -> bool:
        """Call `remove` for a file that nobody uses, and forget it; False, and nothing done, where somebody does.

        A use of the same file by another path counts too. Nobody can begin to use it meanwhile: `begin_use` waits
        until it is gone.

        Raises:
            OSError: what `remove` raises; the file is remembered as before.
            ModelUnavailable: nobody can say who uses the file.
        """
        problems: list[OSError] = []

        def judge(database: sqlite3.Connection) -> list[tuple[object, ...]]:
            with database:
                database.execute("BEGIN IMMEDIATE")
                users = database.execute("SELECT path, pid, started FROM uses").fetchall()
                if any(_is_same(path, used) and _lives(pid, started) for used, pid, started in users):
                    return [(False,)]
                try:
                    remove()
                except OSError as error:
                    problems.append(error)
                    return []
                for table in ("files", "uses", "expected"):
                    database.execute(f"DELETE FROM {table} WHERE path = ?", (str(path),))  # noqa: S608 - our own names
            return [(True,)]

        answer = self._tried(judge)
        if problems:
            raise problems[0]
        if answer is None:
            raise ModelUnavailable(
                f"{path} stays: {self._path} cannot be asked who uses it; see that its disk has room and try again"
            )
        return answer == [(True,)]

    def close(self) -> None:
        """Let go of the file; this process uses nothing any more."""
        if self._connection is not None:
            self._change("DELETE FROM uses WHERE pid = ? AND started = ?", [self._me])
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

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


def _record(row: tuple[object, ...]) -> Record:
    path, size, mtime_ns, sha256, owned, url, model, last_used = row
    return Record(Path(str(path)), size, mtime_ns, sha256, bool(owned), url, model, last_used)  # type: ignore[arg-type]  # the columns' types


def _is_same(path: Path, other: str) -> bool:
    """Whether both lead to one place: another process may know the models folder by another of its names."""
    return str(path) == other or os.path.realpath(path) == os.path.realpath(other)


def _lives(pid: object, started: object) -> bool:
    assert isinstance(pid, int)
    assert isinstance(started, float)
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.Error:
        return False
