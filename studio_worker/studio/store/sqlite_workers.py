"""Workers and registrations in SQLite."""

from __future__ import annotations

import sqlite3
from typing import Any

from studio_worker.studio.store.database import OnDatabase
from studio_worker.studio.store.rows import Registration, Worker
from studio_worker.studio.store.statements import statements
from studio_worker.wire.strict_json import dumps, loads

_SQL = statements("workers")


class SqliteWorkers(OnDatabase):
    """Keeps `WorkerBook` on a `Database`."""

    async def workers(self) -> list[Worker]:
        """All that are not deleted."""
        return await self._database.run(lambda db: [_worker(row) for row in db.execute(_SQL["list"]).fetchall()])

    async def worker(self, worker_id: str) -> Worker | None:
        """One worker, a deleted one too."""
        row = await self._row("one", id=worker_id)
        return None if row is None else _worker(row)

    async def seen(self, worker_id: str, capabilities: dict[str, object], at: str) -> None:
        """Remember what a worker said of itself."""
        values = {"id": worker_id, "capabilities": dumps(capabilities), "at": at}
        await self._database.run(lambda db: db.execute(_SQL["seen"], values), may_be_lost=True)

    async def delete_worker(self, worker_id: str, at: str) -> bool:
        """Mark a worker deleted."""
        return await self._row("delete", id=worker_id, at=at) is not None

    async def ask(self, request: Registration, most: int) -> Registration | None:
        """Keep or refresh a request, or refuse it at the bound."""
        row = await self._row(
            "ask",
            id=request.id,
            install_id=request.install_id,
            secret_hash=request.secret_hash,
            capabilities=dumps(request.capabilities),
            user_agent=request.user_agent,
            source_ip=request.source_ip,
            requested_at=request.requested_at,
            most=most,
        )
        return None if row is None else _registration(row)

    async def registration(self, request_id: str) -> Registration | None:
        """One request."""
        row = await self._row("registration", id=request_id)
        return None if row is None else _registration(row)

    async def pending(self, limit: int) -> list[Registration]:
        """The requests that wait."""
        return await self._database.run(
            lambda db: [_registration(row) for row in db.execute(_SQL["pending"], {"limit": limit}).fetchall()]
        )

    async def polled(self, request_id: str, at: str) -> None:
        """Remember when a request was polled."""
        await self._row("polled", id=request_id, at=at)

    async def expire(self, before: str) -> list[str]:
        """Forget the requests that nobody polls."""
        return await self._database.run(
            lambda db: [row["id"] for row in db.execute(_SQL["expire"], {"before": before}).fetchall()]
        )

    async def approve(self, request_id: str, worker: Worker) -> bool:
        """Admit, in one transaction with the worker's row."""

        def work(db: sqlite3.Connection) -> bool:
            request = db.execute(_SQL["registration"], {"id": request_id}).fetchone()
            if request is None or request["status"] != "pending":
                return False
            values = {
                "id": worker.id,
                "token_hash": worker.token_hash,
                "install_id": worker.install_id,
                "capabilities": dumps(worker.capabilities),
                "user_agent": worker.user_agent,
                "created_at": worker.created_at,
            }
            db.execute(_SQL["add"], values)
            db.execute(_SQL["approve"], {"id": request_id, "worker_id": worker.id, "at": worker.created_at}).fetchall()
            return True

        return await self._database.run(work)

    async def reject(self, request_id: str, reason: str, at: str) -> bool:
        """Refuse."""
        return await self._row("reject", id=request_id, reason=reason, at=at) is not None

    async def rotate(self, request_id: str, token_hash: str) -> bool:
        """A new token for the worker of an approved request."""
        return await self._row("set_token", request_id=request_id, token_hash=token_hash) is not None

    async def _row(self, name: str, **values: Any) -> sqlite3.Row | None:
        def work(db: sqlite3.Connection) -> sqlite3.Row | None:
            rows = db.execute(_SQL[name], values).fetchall()
            return rows[0] if rows else None

        return await self._database.run(work)


def _worker(row: sqlite3.Row) -> Worker:
    return Worker(
        id=row["id"],
        token_hash=row["token_hash"],
        install_id=row["install_id"],
        capabilities=loads(row["capabilities"]),
        user_agent=row["user_agent"],
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        deleted_at=row["deleted_at"],
    )


def _registration(row: sqlite3.Row) -> Registration:
    return Registration(
        id=row["id"],
        install_id=row["install_id"],
        secret_hash=row["secret_hash"],
        capabilities=loads(row["capabilities"]),
        user_agent=row["user_agent"],
        source_ip=row["source_ip"],
        status=row["status"],
        reason=row["reason"],
        worker_id=row["worker_id"],
        requested_at=row["requested_at"],
        decided_at=row["decided_at"],
        polled_at=row["polled_at"],
    )
