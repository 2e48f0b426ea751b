"""What an error of disk or database means to a worker that wants to keep something."""

from __future__ import annotations

import errno
import sqlite3

from studio_worker.jobs.journal import Trouble
from studio_worker.jobs.journal_file import primary_code
from studio_worker.private_file import is_full, reason

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_CODES = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_READONLY: "state_folder",
    sqlite3.SQLITE_CANTOPEN: "state_folder",
    sqlite3.SQLITE_PERM: "state_folder",
    sqlite3.SQLITE_IOERR: "state_folder",
}
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REMEDIES = {
    "disk_full": "the disk of the state folder is full: make room",
    "state_folder": "the state folder cannot be written: make it writable, and look into the system's log",
    "journal": "the journal cannot be written",
}


def is_lack_of_room(error: OSError) -> bool:
    """Whether a write may work later as it is: the disk is full, or takes nothing at the moment."""
    return error.errno in _NO_ROOM


def as_trouble(error: Exception) -> Trouble:
    """The trouble that an error of the database or of the spool is."""
    if isinstance(error, OSError):
        code = "disk_full" if is_full(error) else "state_folder"
    elif (known := primary_code(error)) in _LOCKED:
        return Trouble("journal", f"another process holds the journal locked: end it ({error})")
    else:
        code = _CODES.get(known, "journal")
    said = reason(error) if isinstance(error, OSError) else str(error)
    return Trouble(code, f"{_REMEDIES[code]} ({said})")
