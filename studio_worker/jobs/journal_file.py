"""The journal's file: made, opened, or set aside where it is damaged; one of a newer release is left untouched."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import psutil

from studio_worker.errors import AlreadyRunning, ConfigError, NoRoom
from studio_worker.jobs.spool import holds_results
from studio_worker.log import logger
from studio_worker.private_file import PRIVATE, is_full, make_private_folder, reason, sync_folder, take_as_own

VERSION = 2
"""The schema's number, in the file's ``user_version``."""

BUSY_SECS = 5.0
"""How long an opening or a transaction waits for another process's lock."""

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE jobs (
    origin TEXT NOT NULL, worker_id TEXT NOT NULL, job_id TEXT NOT NULL, fingerprint TEXT NOT NULL,
    stage TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, engine TEXT NOT NULL, attempt INTEGER,
    deaths INTEGER NOT NULL, accepted_at REAL NOT NULL, kept_at REAL, settled_at REAL,
    prompt TEXT NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL, checksum TEXT NOT NULL, ext TEXT NOT NULL,
    meta TEXT NOT NULL, json TEXT NOT NULL, note TEXT NOT NULL, seal TEXT NOT NULL,
    UNIQUE (origin, worker_id, job_id, fingerprint)
);
CREATE INDEX jobs_by_age ON jobs (accepted_at);
CREATE INDEX jobs_open ON jobs (origin, worker_id) WHERE settled_at IS NULL;
CREATE INDEX jobs_deaths ON jobs (origin, worker_id) WHERE deaths > 0;
PRAGMA user_version = {VERSION};
COMMIT;
"""

_FROM_1 = """
BEGIN IMMEDIATE;
ALTER TABLE jobs RENAME COLUMN sha256 TO checksum;
PRAGMA user_version = 2;
COMMIT;
"""

MAX_ASIDE = 3
"""Damaged journals that are left for people to look at."""

_ASIDE = ".damaged-"
_RESULTS = ".results"
_WAL = ("-wal", "-shm")

SETS_ASIDE = "the worker sets a damaged one aside when it starts"

_LEAST_BYTES = 128 * 1024
"""What SQLite takes of the disk to open a file that is there."""

_NETWORK = ("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "9p", "fuse.sshfs", "ceph", "glusterfs")
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _Damaged(sqlite3.DatabaseError):
    """What SQLite itself does not mind."""


def journal_path(state: Path) -> Path:
    """Where the journal lies in a state folder."""
    return state / "journal.sqlite3"


def is_damage(error: BaseException) -> bool:
    """Whether an error of SQLite says that the file itself is broken."""
    return isinstance(error, _Damaged) or primary_code(error) in _DAMAGED


@contextmanager
def telling_damage() -> Iterator[None]:
    """Tell an error that cannot be read as the damage that it is: SQLite quotes broken pages, which may be no text."""
    try:
        yield
    except UnicodeDecodeError:
        raise _Damaged("its pages hold bytes where text belongs") from None


def primary_code(error: BaseException) -> int:
    """SQLite's result code of an error, without its extension; 0 where it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def open_journal(
    path: Path,
    *,
    now: datetime,
    busy_secs: float = BUSY_SECS,
    is_start: bool = False,
    on_aside: Callable[[Path], None] = lambda aside: None,
) -> sqlite3.Connection:
    """The one connection that writes. Blocks for the disk, and for a foreign lock at most `busy_secs`.

    Args:
        path: the file; made, for its owner alone, where it is missing.
        now: names a damaged file that is set aside.
        busy_secs: how long to wait for a lock, here and in each transaction.
        is_start: whether this process has written none yet: then one that is not there, beside results, counts as
            damaged.
        on_aside: told where a damaged file lies now, or would lie.

    Raises:
        ConfigError: it comes from a newer release, is a link or another user's, or folder or file cannot be used.
        NoRoom: its disk is full.
        AlreadyRunning: another process holds it locked.
    """
    try:
        make_private_folder(path.parent)
        _warn_of_network(path)
        try:
            with telling_damage():
                return _opened(path, busy_secs, is_start=is_start)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            on_aside(set_aside(path, now, str(error)))
            return _opened(path, busy_secs)
    except (sqlite3.Error, OSError) as error:
        raise explained(path, error) from None


def set_aside(path: Path, now: datetime, why: str) -> Path:
    """Move a damaged journal, with what belongs to it, out of the way; the name that it has from then on.

    Of those that were set aside before, the latest `MAX_ASIDE` are left: a disk that spoils one file spoils more.

    Raises:
        OSError: it cannot be moved.
    """
    _remove_old_asides(path)
    aside = free_aside(path, now)
    for suffix in (*_WAL, ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    sync_folder(path.parent)
    logger.bind(event="journal.damaged", reason=why, aside=str(aside)).error(
        "The journal is damaged and was set aside; a new one is begun, and the studio offers again what was lost"
    )
    return aside


def free_aside(path: Path, now: datetime) -> Path:
    """A name that nothing has yet which was set aside."""
    stem = f"{path.name}{_ASIDE}{now:%Y%m%dT%H%M%SZ}"
    names = (path.with_name(stem + (f"-{number}" if number else "")) for number in range(1_000_000))
    return next(each for each in names if not each.exists() and not results_beside(each).exists())


def results_beside(aside: Path) -> Path:
    """The folder for the kept results of a journal that was set aside: nobody else knows what they are."""
    return aside.with_name(aside.name + _RESULTS)


def _remove_old_asides(path: Path) -> None:
    found = [each for each in path.parent.glob(f"{path.name}{_ASIDE}*") if not each.name.endswith(_WAL)]
    # A journal's own time counts where there is one: it may have been gone, and its results alone are left.
    found.sort(key=lambda each: not each.name.endswith(_RESULTS))
    set_at = {each.with_name(each.name.removesuffix(_RESULTS)): each.lstat().st_mtime for each in found}
    for aside in sorted(set_at, key=set_at.__getitem__)[: -(MAX_ASIDE - 1)]:
        try:
            for suffix in ("", *_WAL):
                aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            logger.bind(event="journal.damaged", aside=str(aside), error=reason(error)).warning(
                "An old damaged journal could not be removed"
            )
            continue
        shutil.rmtree(results_beside(aside), ignore_errors=True)
        logger.bind(event="journal.damaged", aside=str(aside)).warning("The oldest damaged journal was removed")


def read_only(path: Path, *, busy_secs: float = BUSY_SECS) -> sqlite3.Connection:
    """A connection that only reads, also while a worker writes.

    Raises:
        FileNotFoundError: there is no journal, or its making was cut off.
        ConfigError: it is damaged, cannot be read, or comes from a newer release.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    connection: sqlite3.Connection | None = None
    try:
        with telling_damage():
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_secs)
            connection.row_factory = sqlite3.Row
            connection.text_factory = _lenient
            _check_version(path, connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if _was_being_made(error):
            raise FileNotFoundError(path) from None
        if isinstance(error, sqlite3.Error) and is_damage(error):
            raise ConfigError(f"the journal {path} cannot be read: {error}; {SETS_ASIDE}") from None
        if primary_code(error) == sqlite3.SQLITE_CANTOPEN:
            raise ConfigError(
                f"the journal {path} cannot be opened: it has to be a file that can be read, in a folder that can be "
                "written, where SQLite keeps what belongs to it"
            ) from None
        if isinstance(error, (sqlite3.Error, OSError)):
            raise explained(path, error) from None
        raise
    return connection


def _was_being_made(error: BaseException) -> bool:
    """Whether it was a power loss while the file was made: later it is in WAL mode and has nothing to roll back.

    So no job can be in it, and whoever writes undoes it first.
    """
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK


def _opened(path: Path, busy_secs: float, *, is_start: bool = False) -> sqlite3.Connection:
    for suffix in ("", *_WAL):
        take_as_own(path.with_name(path.name + suffix))
    if path.exists():
        if path.stat().st_size > 0:
            _look_first(path, busy_secs)
        elif holds_results(path.parent / "spool"):
            raise _Damaged("it was emptied, and results lie beside it")
    elif is_start and holds_results(path.parent / "spool"):
        raise _Damaged("it is gone, and results lie beside it")
    # SQLite gives its own files the mode of the database, and would make that by the umask alone.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), PRIVATE)
    os.close(descriptor)
    connection = sqlite3.connect(path, timeout=busy_secs, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _look_first(path: Path, busy_secs: float) -> None:
    """A first look that writes nothing: what a newer release made stays as it is, to the byte."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_secs)) as look:
            _check_version(path, look)
    except sqlite3.OperationalError as error:
        if not _was_being_made(error):
            raise
        with closing(sqlite3.connect(path, timeout=busy_secs)) as look:
            _check_version(path, look)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.text_factory = _lenient
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # macOS empties a disk's own cache only for this; elsewhere it says nothing.
    connection.execute("PRAGMA fullfsync = ON")
    # Not every build overwrites what is deleted, prompts among it, by itself.
    connection.execute("PRAGMA secure_delete = ON")
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found is None or found[0] != "ok":
        raise _Damaged(str(found[0]) if found else "it cannot be checked")
    if _version(connection) == 0:
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
            raise _Damaged("it holds something else than a journal")
        connection.executescript(SCHEMA)
    elif _version(connection) == 1:
        connection.executescript(_FROM_1)
    connection.execute("SELECT seal FROM jobs LIMIT 1").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version > VERSION:
        raise ConfigError(
            f"the journal {path} has version {version}, and this studio-worker knows versions up to {VERSION}; "
            "install a newer studio-worker, or set another state_dir"
        )


def _lenient(raw: bytes) -> str:
    # Damaged text must not make its row unreadable before its seal has told so.
    return raw.decode(errors="replace")


def _warn_of_network(path: Path) -> None:
    folder = str(path.parent.resolve())
    try:
        mounts = [mount for mount in psutil.disk_partitions(all=True) if _is_under(folder, mount.mountpoint)]
    except OSError:
        return
    nearest = max(mounts, key=lambda mount: len(mount.mountpoint), default=None)
    if nearest is not None and nearest.fstype.lower() in _NETWORK:
        logger.bind(event="journal.network", folder=folder, filesystem=nearest.fstype).warning(
            "The state folder lies on a network file system, where a journal may break: set state_dir to a local disk"
        )


def _is_under(folder: str, mount: str) -> bool:
    return folder == mount or folder.startswith(mount.rstrip("/\\") + os.sep)


def explained(path: Path, error: Exception) -> Exception:
    """An error of the disk or of SQLite in words that say what to do."""
    if primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return AlreadyRunning(f"the journal {path} is locked by another process: end that, or set another state_dir")
    said = str(error) if isinstance(error, sqlite3.Error) else reason(error)
    if _lacks_room(path, error):
        return NoRoom(f"the journal {path} cannot be used: its disk is full ({said}); make room, and start again")
    return ConfigError(f"the journal {path} cannot be used: {said}; make it writable or set state_dir")


def _lacks_room(path: Path, error: Exception) -> bool:
    """Whether the disk is full, which SQLite also tells as an error of the disk."""
    if isinstance(error, OSError):
        return is_full(error)
    try:
        return shutil.disk_usage(path.parent).free < _LEAST_BYTES
    except OSError:
        return False
