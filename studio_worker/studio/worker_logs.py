"""Workers' log lines, made safe and kept for the log view."""

from __future__ import annotations

from studio_worker.studio.events import Hub
from studio_worker.studio.store.port import LogBook, StoreBusy
from studio_worker.studio.store.rows import LogLine
from studio_worker.text import escape
from studio_worker.wire.claims import is_job_id
from studio_worker.wire.frames import LogBatch

MAX_MESSAGE = 4_000


class WorkerLogs:
    """Takes `logBatch` frames.

    Args:
        store: where lines are kept.
        hub: told that there are new ones.
        keep: rows kept; the oldest go.
    """

    def __init__(self, store: LogBook, hub: Hub, keep: int) -> None:
        self._store = store
        self._hub = hub
        self._keep = keep

    async def take(self, worker_id: str, frame: LogBatch) -> None:
        """Keep a batch; while the database is busy, lines are let go rather than a session."""
        lines = [
            LogLine(
                worker_id=worker_id,
                job_id=entry.job_id if entry.job_id is not None and is_job_id(entry.job_id) else None,
                at=escape(entry.ts, limit=40),
                level=entry.level,
                category=escape(entry.category, limit=100),
                message=escape(entry.message, limit=MAX_MESSAGE),
            )
            for entry in frame.entries
        ]
        if not lines:
            return
        try:
            await self._store.append_logs(lines, self._keep)
        except StoreBusy:
            return
        self._hub.publish("log", workerId=worker_id, count=len(lines))
