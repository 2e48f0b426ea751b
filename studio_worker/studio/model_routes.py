"""The admin's routes of the model registry."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import ValidationError

from studio_worker.clock import Clock, rfc3339
from studio_worker.studio.access import Access
from studio_worker.studio.answers import BadField, NotFound, answer
from studio_worker.studio.bodies import read_json
from studio_worker.studio.events import Hub
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import Model
from studio_worker.studio.timings import Limits, Timings
from studio_worker.wire.base import WireModel, bad_claim, bounded_text, number
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import parse_model_source


class _Entry(WireModel):
    id: Annotated[str, bounded_text(512)]
    kind: str
    vram_gb_estimate: Annotated[float, number(0, 100_000)] = 0.0
    enabled: bool = True


def model_to_json(model: Model) -> dict[str, Any]:
    """A model as the routes show it."""
    return {
        "id": model.id,
        "kind": model.kind,
        "engine": model.engine,
        "modelSource": model.model_source,
        "vramGbEstimate": model.vram_gb_estimate,
        "enabled": model.enabled,
        "createdAt": model.created_at,
    }


def model_from_json(body: dict[str, Any], created_at: str) -> Model:
    """A registry entry: `id`, `kind`, and `modelSource` or, for an engine that needs no files, `engine` alone.

    Raises:
        BadClaim, BadField: naming the field.
    """
    try:
        entry = _Entry.from_wire(body)
    except ValidationError as error:
        raise bad_claim(error) from None
    if not entry.id.isprintable():
        raise BadField("id", "must not hold control characters")
    if entry.kind not in TaskKind.__members__.values():
        raise BadField("kind", f"must be one of {', '.join(TaskKind)}")
    raw = body.get("modelSource")
    if raw is None:
        raw = {"engine": body.get("engine"), "files": []}
    source = parse_model_source(raw)
    if body.get("engine") not in (None, source.engine):
        raise BadField("engine", f"the model source names {source.engine!r}")
    return Model(
        id=entry.id,
        kind=entry.kind,
        engine=source.engine,
        model_source={name: value for name, value in raw.items() if value is not None},
        vram_gb_estimate=entry.vram_gb_estimate,
        enabled=entry.enabled,
        created_at=created_at,
    )


class ModelRoutes:
    """`/models` and below."""

    def __init__(self, store: Store, hub: Hub, access: Access, clock: Clock, timings: Timings, limits: Limits) -> None:
        self._store = store
        self._hub = hub
        self._access = access
        self._clock = clock
        self._timings = timings
        self._limits = limits

    async def list(self, request: web.Request) -> web.Response:
        """Handle `GET /models`."""
        self._access.require_admin(request)
        return answer([model_to_json(model) for model in await self._store.models()])

    async def show(self, request: web.Request) -> web.Response:
        """Handle `GET /models/{model_id}`."""
        self._access.require_admin(request)
        model = await self._store.model(request.match_info["model_id"])
        if model is None:
            raise NotFound("there is no such model")
        return answer(model_to_json(model))

    async def add(self, request: web.Request) -> web.Response:
        """Handle `POST /models`: 409 where the id is known."""
        self._access.require_admin(request)
        model = await self._read(request, None)
        await self._store.add_model(model)
        self._hub.publish("model", id=model.id)
        return answer(model_to_json(model), 201)

    async def put(self, request: web.Request) -> web.Response:
        """Handle `PUT /models/{model_id}`: add or replace."""
        self._access.require_admin(request)
        model = await self._read(request, request.match_info["model_id"])
        await self._store.put_model(model)
        self._hub.publish("model", id=model.id)
        return answer(model_to_json(await self._store.model(model.id) or model))

    async def delete(self, request: web.Request) -> web.Response:
        """Handle `DELETE /models/{model_id}`."""
        self._access.require_admin(request)
        model_id = request.match_info["model_id"]
        if not await self._store.delete_model(model_id):
            raise NotFound("there is no such model")
        self._hub.publish("model", id=model_id)
        return answer({"id": model_id, "deleted": True})

    async def _read(self, request: web.Request, model_id: str | None) -> Model:
        body = await read_json(request, self._limits.json_bytes, self._timings.body_secs)
        if model_id is not None and body.setdefault("id", model_id) != model_id:
            raise BadField("id", "is not the id of the path")
        return model_from_json(body, rfc3339(self._clock.now()))
