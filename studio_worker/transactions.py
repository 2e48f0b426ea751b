"""One SQLite transaction: all of it, or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")


def transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
    """What `work` returns, its changes committed; raises what it raises, and then nothing is changed."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        answer = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            # Where this fails too, the first error is the one that says why.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
    return answer
