"""The admin's routes of workers, and of those who ask to become one."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from studio_worker.clock import Clock, rfc3339
from studio_worker.studio.access import Access
from studio_worker.studio.answers import BadField, NotFound, answer
from studio_worker.studio.bodies import limit_parameter, read_json
from studio_worker.studio.events import Hub
from studio_worker.studio.peer import Peer, Roster
from studio_worker.studio.registration import Registrar
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import Registration, Worker
from studio_worker.studio.timings import Limits, Timings
from studio_worker.wire.frames import CloseCode, ErrorCode


def worker_to_json(worker: Worker, peer: Peer | None) -> dict[str, Any]:
    """A worker with what its connection says. `state` is offline, paused, busy or idle."""
    is_here = peer is not None and peer.is_welcome
    out: dict[str, Any] = {
        "workerId": worker.id,
        "machineName": worker.capabilities.get("machineName", ""),
        "username": worker.capabilities.get("username", ""),
        "state": _state(peer),
        "connected": is_here,
        "capabilities": worker.capabilities,
        "userAgent": worker.user_agent,
        "createdAt": worker.created_at,
        "lastHeartbeatAt": worker.last_seen_at,
    }
    if peer is not None and is_here:
        jobs = list(peer.held)
        out |= {
            "machineName": peer.capabilities.machine_name,
            "username": peer.capabilities.username,
            "capabilities": peer.capabilities.to_wire(),
            "connectedAt": peer.connected_at,
            "lastHeartbeatAt": peer.last_heartbeat_at,
            "currentJobId": jobs[0] if jobs else None,
            "currentJobIds": jobs,
            "health": peer.health,
        }
    return {name: value for name, value in out.items() if value is not None}


def pending_to_json(request: Registration) -> dict[str, Any]:
    """A worker that waits for a decision."""
    return {
        "requestId": request.id,
        "installId": request.install_id,
        "machineName": request.capabilities.get("machineName", ""),
        "username": request.capabilities.get("username", ""),
        "capabilities": request.capabilities,
        "userAgent": request.user_agent,
        "sourceIp": request.source_ip,
        "requestedAt": request.requested_at,
    }


def _state(peer: Peer | None) -> str:
    if peer is None or not peer.is_welcome:
        return "offline"
    if peer.held:
        return "busy"
    return "idle" if peer.capabilities.auto_enabled else "paused"


class WorkerRoutes:
    """`/workers` and below, for the admin."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        hub: Hub,
        registrar: Registrar,
        access: Access,
        clock: Clock,
        timings: Timings,
        limits: Limits,
    ) -> None:
        self._store = store
        self._roster = roster
        self._hub = hub
        self._registrar = registrar
        self._access = access
        self._clock = clock
        self._timings = timings
        self._limits = limits

    async def list(self, request: web.Request) -> web.Response:
        """Handle `GET /workers`."""
        self._access.require_admin(request)
        workers = await self._store.workers()
        return answer([worker_to_json(worker, self._roster.get(worker.id)) for worker in workers])

    async def show(self, request: web.Request) -> web.Response:
        """Handle `GET /workers/{worker_id}`."""
        self._access.require_admin(request)
        worker = await self._store.worker(request.match_info["worker_id"])
        if worker is None or worker.deleted_at is not None:
            raise NotFound("there is no such worker")
        return answer(worker_to_json(worker, self._roster.get(worker.id)))

    async def pending(self, request: web.Request) -> web.Response:
        """Handle `GET /workers/pending`: those that wait longest, at most `limit` of them."""
        self._access.require_admin(request)
        return answer([pending_to_json(waiting) for waiting in await self._store.pending(limit_parameter(request))])

    async def approve(self, request: web.Request) -> web.Response:
        """Handle `POST /workers/pending/{request_id}/approve`."""
        self._access.require_admin(request)
        worker_id = await self._registrar.approve(request.match_info["request_id"])
        return answer({"requestId": request.match_info["request_id"], "status": "approved", "workerId": worker_id})

    async def reject(self, request: web.Request) -> web.Response:
        """Handle `POST /workers/pending/{request_id}/reject`, with an optional ``{reason}``."""
        self._access.require_admin(request)
        reason: Any = ""
        if request.can_read_body:
            body = await read_json(request, self._limits.json_bytes, self._timings.body_secs)
            reason = body.get("reason") or ""
        if not isinstance(reason, str) or len(reason) > 1_000:
            raise BadField("reason", "must be text of at most 1,000 characters")
        await self._registrar.reject(request.match_info["request_id"], reason)
        return answer({"requestId": request.match_info["request_id"], "status": "rejected"})

    async def delete(self, request: web.Request) -> web.Response:
        """Handle `DELETE /workers/{worker_id}`: its socket is told by 4004, its claims are released."""
        self._access.require_admin(request)
        worker_id = request.match_info["worker_id"]
        if not await self._store.delete_worker(worker_id, rfc3339(self._clock.now())):
            raise NotFound("there is no such worker")
        peer = self._roster.get(worker_id)
        if peer is not None:
            peer.end(CloseCode.WORKER_DELETED, "this worker was deleted", ErrorCode.WORKER_DELETED)
        self._hub.publish("worker", workerId=worker_id)
        return answer({"workerId": worker_id, "deleted": True})
