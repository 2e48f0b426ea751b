"""What the journal says of the latest jobs, read beside a worker that writes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from studio_worker.clock import rfc3339
from studio_worker.errors import ConfigError
from studio_worker.jobs.journal_file import SETS_ASIDE, journal_path, read_only, telling_damage

_SHOWN = (
    "SELECT job_id, stage, kind, model, engine, attempt, origin, accepted_at, kept_at, settled_at, size, note "
    "FROM jobs ORDER BY accepted_at DESC LIMIT ?"
)


def latest_jobs(state: Path, limit: int) -> list[dict[str, Any]]:
    """The latest jobs that this machine's worker took from studios, newest first, as JSON values without prompts.

    Args:
        state: the state folder; one without a journal has no jobs.
        limit: how many at most.

    Raises:
        ConfigError: the journal is damaged, cannot be read, or comes from a newer release.
    """
    path = journal_path(state)
    try:
        with closing(read_only(path)) as connection, telling_damage():
            return [_shown(row) for row in connection.execute(_SHOWN, (limit,))]
    except FileNotFoundError:
        return []
    except sqlite3.Error as error:
        raise ConfigError(f"the journal {path} cannot be read: {error}; {SETS_ASIDE}") from None


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "jobId": row["job_id"],
        "state": row["stage"],
        "kind": row["kind"],
        "model": row["model"],
        "engine": row["engine"],
        "attempt": row["attempt"],
        "studio": row["origin"],
        "acceptedAt": _moment(row["accepted_at"]),
        "keptAt": _moment(row["kept_at"]),
        "settledAt": _moment(row["settled_at"]),
        "bytes": row["size"],
        "note": row["note"] or None,
    }


def _moment(seconds: float | None) -> str | None:
    try:
        return None if seconds is None else rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError, TypeError):
        # Of a row that is damaged the rest may still be read.
        return None
