"""The routes that show and steer the worker."""

from __future__ import annotations

from aiohttp import web

from studio_worker.local_api.answers import json_answer
from studio_worker.local_api.control import DaemonControl
from studio_worker.version import __version__


def daemon_routes(control: DaemonControl) -> list[web.RouteDef]:
    """``/healthz``, ``/readyz``, ``/daemon/status``, ``/daemon/pause`` and ``/daemon/resume``.

    The first says that the worker lives, the second whether it would take a job: 200, or 503 with a code.

    Args:
        control: the worker.
    """

    async def healthz(_: web.Request) -> web.Response:
        return json_answer({"ok": True, "status": "live", "version": __version__})

    async def readyz(_: web.Request) -> web.Response:
        readiness = control.readiness()
        # Without its detail: this route wants no token, and a detail may name a folder.
        answer = {"ready": readiness.is_ready, "code": readiness.code}
        return json_answer(answer, status=200 if readiness.is_ready else 503)

    async def status(_: web.Request) -> web.Response:
        return json_answer(dict(control.status()))

    async def pause(_: web.Request) -> web.Response:
        control.pause()
        return json_answer({"paused": True})

    async def resume(_: web.Request) -> web.Response:
        control.resume()
        return json_answer({"paused": False})

    return [
        web.get("/healthz", healthz),
        web.get("/readyz", readyz),
        web.get("/daemon/status", status),
        web.post("/daemon/pause", pause),
        web.post("/daemon/resume", resume),
    ]
