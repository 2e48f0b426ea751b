"""One SQLite transaction."""

from __future__ import annotations

import sqlite3

import pytest

from studio_worker.transactions import transaction


@pytest.fixture
def connection():
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute("CREATE TABLE t (n INTEGER)")
    yield made
    made.close()


def count(connection):
    return connection.execute("SELECT count(*) FROM t").fetchone()[0]


def test_what_the_work_returns_is_given_and_its_changes_are_there(connection):
    assert transaction(connection, lambda on: on.execute("INSERT INTO t VALUES (1)").rowcount) == 1
    assert (count(connection), connection.in_transaction) == (1, False)


def test_work_that_raises_changes_nothing(connection):
    def work(on):
        on.execute("INSERT INTO t VALUES (1)")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        transaction(connection, work)
    assert (count(connection), connection.in_transaction) == (0, False)


def test_a_rollback_that_fails_does_not_hide_why_it_was_wanted():
    class Refusing(sqlite3.Connection):
        def execute(self, sql, *values):
            if sql == "ROLLBACK":
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

    def work(on):
        raise LookupError("no")

    connection = sqlite3.connect(":memory:", isolation_level=None, factory=Refusing)
    with pytest.raises(LookupError, match="no"):
        transaction(connection, work)
    connection.close()
