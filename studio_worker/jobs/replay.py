"""After a restart: what an earlier process has kept, read again; what can't be read is set aside, and nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studio_worker.jobs.journal import Recalled
from studio_worker.jobs.journal_row import Row, Stage, UnreadableRow, artifact_of, read_row
from studio_worker.jobs.poison import Deaths
from studio_worker.jobs.results import Kept
from studio_worker.log import logger

MAX_DEATHS_KNOWN = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """What the journal knows of one worker id at one studio.

    Attributes:
        results: those that are held, oldest first.
        deaths: of deadly jobs.
        unreadable: rows that hold nothing to deliver, by number, each with why.
    """

    results: list[tuple[Row, Recalled]]
    deaths: list[Deaths]
    unreadable: list[tuple[int, str]]


def recall_rows(
    connection: sqlite3.Connection, origin: str, worker_id: str, spool: Path, moment: tuple[float, float]
) -> Found:
    """Read what is owed, and write nothing. A row that cannot be read, or whose file is gone, is logged.

    Args:
        connection: the journal's own, in a transaction.
        origin: the studio's.
        worker_id: the worker's id there.
        spool: where the files lie.
        moment: now, in monotonic seconds and in seconds since the epoch.
    """
    monotonic, now = moment
    whose = (origin, worker_id)
    results: dict[str, tuple[Row, Recalled]] = {}
    numbers: dict[Row, int] = {}
    unreadable: list[tuple[int, str]] = []
    held = connection.execute(
        "SELECT rowid, * FROM jobs WHERE origin = ? AND worker_id = ? AND settled_at IS NULL AND kept_at IS NOT NULL "
        "ORDER BY kept_at",
        whose,
    ).fetchall()
    for found in held:
        try:
            row, recalled = _recalled(found, spool, monotonic, now)
        except (UnreadableRow, TypeError) as error:
            unreadable.append((found["rowid"], str(error)))
            logger.bind(event="journal.unreadable", job_id=str(found["job_id"])[:128], reason=str(error)).error(
                "A kept result is damaged and is not delivered; the job runs again when the studio offers it"
            )
            continue
        if (earlier := results.pop(row.entry.job_id, None)) is not None:
            unreadable.append((numbers[earlier[0]], "another result is kept for the same job, and a later one"))
        results[row.entry.job_id], numbers[row] = (row, recalled), found["rowid"]
    deadly = connection.execute(
        "SELECT job_id, fingerprint, deaths, settled_at FROM jobs WHERE origin = ? AND worker_id = ? AND deaths > 0 "
        "AND settled_at IS NOT NULL ORDER BY settled_at DESC LIMIT ?",
        (*whose, MAX_DEATHS_KNOWN),
    )
    deaths = [Deaths(row["job_id"], row["fingerprint"], row["deaths"], row["settled_at"]) for row in deadly]
    return Found(list(results.values()), deaths, unreadable)


def _recalled(found: sqlite3.Row, spool: Path, monotonic: float, now: float) -> tuple[Row, Recalled]:
    row = read_row(found, monotonic - max(0.0, now - found["accepted_at"]))
    file = spool / row.file
    if row.file:
        _check_file(file, row.size)
    kept_at = now if row.kept_at is None else row.kept_at
    kept = Kept(
        entry=row.entry,
        artifact=artifact_of(row, file),
        kept_at=monotonic - max(0.0, now - kept_at),
        checksum=row.checksum,
    )
    return row, Recalled(kept, is_unsent=bool(row.file) and row.stage is not Stage.WAITING)


def _check_file(file: Path, size: int) -> None:
    """Whether the file is there at all; its checksum is looked at on the way to the studio.

    A disk that gives no answer just now has lost nothing: the upload finds out.
    """
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        raise UnreadableRow("its file is not there") from None
    except OSError:
        return
    if found < size:
        raise UnreadableRow(f"its file has {found:,} bytes instead of {size:,}")


def settle_unreadable(connection: sqlite3.Connection, now: float, rows: Sequence[tuple[int, str]]) -> None:
    """Settle the rows that `recall_rows` could not read."""
    connection.executemany(
        "UPDATE jobs SET stage = ?, settled_at = ?, note = ?, prompt = '', json = '', meta = '' WHERE rowid = ?",
        [(Stage.UNREADABLE, now, why, rowid) for rowid, why in rows],
    )
