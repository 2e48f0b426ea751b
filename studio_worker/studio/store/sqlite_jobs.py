"""Jobs in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from studio_worker.studio.store.database import OnDatabase
from studio_worker.studio.store.port import AlreadyThere
from studio_worker.studio.store.rows import BlobOutcome, Job, JobState, JsonOutcome, NewJob, Settled, Wants
from studio_worker.studio.store.statements import statements
from studio_worker.wire.strict_json import dumps, loads

_SQL = statements("jobs")


class SqliteJobs(OnDatabase):
    """Keeps `JobQueue` on a `Database`."""

    async def add_job(self, job: NewJob) -> Job:
        """Queue a job. Raises `AlreadyThere`."""

        def work(db: sqlite3.Connection) -> Job:
            values = {
                "id": job.id,
                "model": job.model,
                "kind": job.kind,
                "engine": job.engine,
                "task": dumps(job.task),
                "model_source": dumps(job.model_source),
                "title": job.title,
                "vram_gb_estimate": job.vram_gb_estimate,
                "created_at": job.created_at or self._now(),
            }
            try:
                row = db.execute(_SQL["add"], values).fetchone()
            except sqlite3.IntegrityError:
                raise AlreadyThere(f"there is a job {job.id!r} already") from None
            db.executemany(_SQL["add_need"], [{"job_id": job.id, "needed_id": other} for other in job.needs])
            return _job(_fallen_with_needs(db, job.id, self._now()) or row)

        return await self._database.run(work)

    async def job(self, job_id: str) -> Job | None:
        """One job."""
        return await self._one("one", id=job_id)

    async def jobs(self, state: JobState | None, limit: int, after: str | None) -> list[Job]:
        """Jobs, newest first."""
        return await self._many("list", state=state, limit=limit, after=after)

    async def waiting(self, limit: int) -> list[Job]:
        """What is claimed, then what is queued, oldest first."""
        return await self._many("waiting", limit=limit)

    async def finished(self, limit: int) -> list[Job]:
        """What is done, failed or cancelled, the latest first."""
        return await self._many("finished", limit=limit)

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return await self._database.run(
            lambda db: {row["state"]: row["n"] for row in db.execute(_SQL["counts"]).fetchall()}
        )

    async def claim_next(self, wants: Sequence[Wants]) -> Job | None:
        """Claim the oldest fitting job for the first worker that may have one."""

        def work(db: sqlite3.Connection) -> Job | None:
            for one in wants:
                values = {
                    "worker_id": one.worker_id,
                    "serves": dumps([list(pair) for pair in one.serves]),
                    "vram_gb": one.vram_gb,
                    "held": dumps(list(one.held)),
                }
                rows = db.execute(_SQL["claim_next"], values).fetchall()
                if rows:
                    return _job(rows[0])
            return None

        return await self._database.run(work)

    async def release(self, worker_id: str, job_ids: Sequence[str]) -> list[str]:
        """Put claims back into the queue."""
        return await self._ids("release", worker_id=worker_id, ids=dumps(list(job_ids)))

    async def claims(self) -> list[tuple[str, str]]:
        """All claims, as (worker id, job id)."""
        return await self._database.run(
            lambda db: [(row["worker_id"], row["id"]) for row in db.execute(_SQL["claims"]).fetchall()]
        )

    async def release_all(self) -> list[str]:
        """Put every claim back into the queue."""
        return await self._ids("release_all")

    async def finish(
        self,
        job_id: str,
        worker_id: str,
        attempt: int | None,
        outcome: JsonOutcome | BlobOutcome,
        started_at: str | None,
    ) -> Job | None:
        """Mark a job done."""
        values: dict[str, Any] = dict.fromkeys(("result", "blob", "media_type", "blob_bytes", "meta"))
        if isinstance(outcome, JsonOutcome):
            values["result"] = dumps(outcome.result)
        else:
            values |= {"blob": outcome.blob, "media_type": outcome.media_type, "blob_bytes": outcome.blob_bytes}
            values["meta"] = None if outcome.meta is None else dumps(outcome.meta)
        return await self._one(
            "finish",
            id=job_id,
            worker_id=worker_id,
            attempt=attempt,
            prompt=outcome.prompt,
            started_at=started_at,
            now=self._now(),
            **values,
        )

    async def fail(
        self, job_id: str, worker_id: str, error: str, *, retryable: bool, max_attempts: int
    ) -> Settled | None:
        """Count a failure."""
        values = {
            "id": job_id,
            "worker_id": worker_id,
            "error": error,
            "retryable": retryable,
            "max_attempts": max_attempts,
            "now": self._now(),
        }
        return await self._database.run(lambda db: self._settle(db, "fail", values, "failed"))

    async def cancel(self, job_id: str, reason: str) -> Settled | None:
        """Cancel a job that is not finished."""
        values = {"id": job_id, "error": f"cancelled: {reason}" if reason else "cancelled", "now": self._now()}
        return await self._database.run(lambda db: self._settle(db, "cancel", values, "was cancelled"))

    async def retry(self, job_id: str) -> Job | None:
        """Queue a finished job anew."""

        def work(db: sqlite3.Connection) -> Job | None:
            row = db.execute(_SQL["retry"], {"id": job_id}).fetchone()
            return None if row is None else _job(_fallen_with_needs(db, job_id, self._now()) or row)

        return await self._database.run(work)

    async def needs(self, job_id: str) -> list[tuple[str, JobState]]:
        """The jobs whose results this one needs."""
        return await self._database.run(
            lambda db: [
                (row["id"], JobState(row["state"])) for row in db.execute(_SQL["needs"], {"id": job_id}).fetchall()
            ]
        )

    async def keep_links_until(self, job_id: str, until: int) -> None:
        """Remember when a job's links expire."""
        await self._database.run(lambda db: db.execute(_SQL["keep_links_until"], {"id": job_id, "until": until}))

    async def blobs(self) -> set[str]:
        """The names of all blobs that jobs hold."""
        return await self._database.run(lambda db: {row[0] for row in db.execute(_SQL["blobs"]).fetchall()})

    def _settle(self, db: sqlite3.Connection, name: str, values: dict[str, Any], how: str) -> Settled | None:
        row = db.execute(_SQL[name], values).fetchone()
        if row is None:
            return None
        job = _job(row)
        if job.state is JobState.QUEUED:
            return Settled(job)
        fallen = db.execute(_SQL["fall"], {"id": job.id, "how": how, "now": values["now"]}).fetchall()
        return Settled(job, tuple(row["id"] for row in fallen))

    async def _one(self, name: str, **values: Any) -> Job | None:
        def work(db: sqlite3.Connection) -> Job | None:
            rows = db.execute(_SQL[name], values).fetchall()
            return _job(rows[0]) if rows else None

        return await self._database.run(work)

    async def _many(self, name: str, **values: Any) -> list[Job]:
        return await self._database.run(lambda db: [_job(row) for row in db.execute(_SQL[name], values).fetchall()])

    async def _ids(self, name: str, **values: Any) -> list[str]:
        return await self._database.run(lambda db: [row["id"] for row in db.execute(_SQL[name], values).fetchall()])


def _fallen_with_needs(db: sqlite3.Connection, job_id: str, now: str) -> sqlite3.Row | None:
    """The job's row after it failed because a job that it needs has; None where none has."""
    for needed in db.execute(_SQL["needs"], {"id": job_id}).fetchall():
        if needed["state"] in (JobState.FAILED, JobState.CANCELLED):
            how = "failed" if needed["state"] == JobState.FAILED else "was cancelled"
            db.execute(_SQL["fall"], {"id": needed["id"], "how": how, "now": now}).fetchall()
            row: sqlite3.Row = db.execute(_SQL["one"], {"id": job_id}).fetchone()
            return row
    return None


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        state=JobState(row["state"]),
        model=row["model"],
        kind=row["kind"],
        engine=row["engine"],
        task=loads(row["task"]),
        model_source=loads(row["model_source"]),
        title=row["title"],
        vram_gb_estimate=row["vram_gb_estimate"],
        attempts=row["attempts"],
        attempt=row["attempt"],
        worker_id=row["worker_id"],
        last_worker_id=row["last_worker_id"],
        error=row["error"],
        result=None if row["result"] is None else loads(row["result"]),
        has_result=row["result"] is not None,
        prompt=row["prompt"],
        blob=row["blob"],
        media_type=row["media_type"],
        blob_bytes=row["blob_bytes"],
        meta=None if row["meta"] is None else loads(row["meta"]),
        links_until=row["links_until"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
