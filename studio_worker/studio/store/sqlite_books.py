"""The model registry and the log book in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from studio_worker.studio.store.database import OnDatabase
from studio_worker.studio.store.port import AlreadyThere
from studio_worker.studio.store.rows import LogLine, Model
from studio_worker.studio.store.statements import statements
from studio_worker.wire.strict_json import dumps, loads

_MODELS = statements("models")
_LOGS = statements("logs")


class SqliteModels(OnDatabase):
    """Keeps `ModelRegistry` on a `Database`."""

    async def models(self) -> list[Model]:
        """All, by id."""
        return await self._database.run(lambda db: [_model(row) for row in db.execute(_MODELS["list"]).fetchall()])

    async def model(self, model_id: str) -> Model | None:
        """One."""
        row = await self._database.run(lambda db: db.execute(_MODELS["one"], {"id": model_id}).fetchone())
        return None if row is None else _model(row)

    async def add_model(self, model: Model) -> None:
        """Raises `AlreadyThere`."""

        def work(db: sqlite3.Connection) -> None:
            try:
                db.execute(_MODELS["add"], _values(model))
            except sqlite3.IntegrityError:
                raise AlreadyThere(f"there is a model {model.id!r} already") from None

        await self._database.run(work)

    async def put_model(self, model: Model) -> None:
        """Add or replace."""
        await self._database.run(lambda db: db.execute(_MODELS["put"], _values(model)))

    async def delete_model(self, model_id: str) -> bool:
        """False where there is none."""
        rows = await self._database.run(lambda db: db.execute(_MODELS["delete"], {"id": model_id}).fetchall())
        return bool(rows)


class SqliteLogs(OnDatabase):
    """Keeps `LogBook` on a `Database`."""

    async def append_logs(self, lines: Sequence[LogLine], keep: int) -> None:
        """Add lines, drop the oldest."""

        def work(db: sqlite3.Connection) -> None:
            db.executemany(_LOGS["add"], [asdict(line) for line in lines])
            db.execute(_LOGS["trim"], {"keep": keep})

        await self._database.run(work, may_be_lost=True)

    async def logs(self, worker_id: str | None, job_id: str | None, after: int | None, limit: int) -> list[LogLine]:
        """Oldest first."""
        name = "newest" if after is None else "after"
        values = {"worker_id": worker_id, "job_id": job_id, "after": after, "limit": limit}
        return await self._database.run(
            lambda db: [LogLine(**dict(row)) for row in db.execute(_LOGS[name], values).fetchall()]
        )


def _values(model: Model) -> dict[str, Any]:
    return asdict(model) | {"model_source": dumps(model.model_source)}


def _model(row: sqlite3.Row) -> Model:
    values = dict(row)
    return Model(**values | {"model_source": loads(row["model_source"]), "enabled": bool(row["enabled"])})
