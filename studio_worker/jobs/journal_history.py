"""What the journal does with old rows: what an ended process left open, what is too old, what is too much."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from studio_worker.jobs.journal_row import HELD, STARTED, Stage
from studio_worker.log import logger

DAY_SECS = 24 * 3600.0
CHUNK_ROWS = 5_000
"""Settled rows that one transaction removes: the next row to write waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How much is remembered.

    Attributes:
        settled_rows: of how many settled jobs.
        settled_secs: for how long.
        kept_secs: how old a result may get that nobody takes.
    """

    settled_rows: int = 10_000
    settled_secs: float = 30 * DAY_SECS
    kept_secs: float = 7 * DAY_SECS


def _among(stages: tuple[Stage, ...]) -> str:
    return ", ".join(f"'{stage}'" for stage in stages)


def end_interrupted(connection: sqlite3.Connection, now: float) -> int:
    """Settle the jobs that an earlier process had begun and not finished; how many there were.

    Each counts a death: a job that keeps ending the process is refused some day, whatever of it does so. Its inputs and
    its model's files are opened here, before an engine starts.
    """
    return connection.execute(
        f"UPDATE jobs SET deaths = deaths + 1, stage = '{Stage.INTERRUPTED}', "  # noqa: S608
        f"settled_at = ?, prompt = '' WHERE settled_at IS NULL AND stage IN ({_among(STARTED)})",
        (now,),
    ).rowcount


def give_up_others(connection: sqlite3.Connection, now: float, history: History, ours: tuple[str, str]) -> list[str]:
    """Give up results of other studios, or worker ids, that nobody has taken for too long; their files.

    Args:
        connection: the journal's own, in a transaction.
        now: in seconds since the epoch.
        history: how old they may get.
        ours: studio and worker id of this process, which knows by itself what is too old.
    """
    old = connection.execute(
        f"SELECT rowid, job_id, origin, file FROM jobs WHERE settled_at IS NULL AND stage IN ({_among(HELD)}) "  # noqa: S608
        "AND kept_at < ? AND (origin, worker_id) != (?, ?)",
        (now - history.kept_secs, *ours),
    ).fetchall()
    for row in old:
        connection.execute(
            "UPDATE jobs SET stage = ?, settled_at = ?, note = ?, prompt = '', json = '', meta = '' WHERE rowid = ?",
            (Stage.FAILED, now, "given up: nobody took the result in time", row["rowid"]),
        )
        logger.bind(event="journal.too_old", job_id=row["job_id"], origin=row["origin"]).error(
            "A result that nobody took was given up: it is too old"
        )
    return [str(row["file"]) for row in old if row["file"]]


def files_wanted(connection: sqlite3.Connection) -> frozenset[str]:
    """Names of the spooled files that somebody is still to get."""
    found = connection.execute("SELECT file FROM jobs WHERE settled_at IS NULL AND file != ''")
    return frozenset(str(row["file"]) for row in found)


def forget_settled(connection: sqlite3.Connection, now: float | None, history: History) -> bool:
    """Remove some of the oldest settled rows beyond the bounds; whether there may be more.

    Args:
        connection: the journal's own, in a transaction.
        now: in seconds since the epoch; None where nobody is sure, and then none is too old.
        history: the bounds.
    """
    # In the order in which they came: one that was dated by a wrong clock must not outlast all others. A job that came
    # again has its first place, and must not take along what is known of its deaths.
    surplus = connection.execute(
        "DELETE FROM jobs WHERE rowid IN (SELECT rowid FROM jobs WHERE settled_at IS NOT NULL AND deaths = 0 AND rowid "
        "<= (SELECT rowid FROM jobs WHERE settled_at IS NOT NULL ORDER BY rowid DESC LIMIT 1 OFFSET ?) "
        "ORDER BY rowid LIMIT ?)",
        (history.settled_rows, CHUNK_ROWS),
    ).rowcount
    if now is None or surplus == CHUNK_ROWS:
        return surplus == CHUNK_ROWS
    old = connection.execute(
        "DELETE FROM jobs WHERE rowid IN (SELECT rowid FROM jobs WHERE settled_at IS NOT NULL AND accepted_at <= ? "
        "ORDER BY accepted_at LIMIT ?)",
        (now - history.settled_secs, CHUNK_ROWS),
    ).rowcount
    return old == CHUNK_ROWS
