"""The routes that show and steer the worker."""

from __future__ import annotations

from aiohttp import web

from studio_worker.local_api.answers import json_answer
from studio_worker.local_api.control import DaemonControl
from studio_worker.version import __version__


def daemon_routes(control: DaemonControl) -> list[web.RouteDef]:
    """``/healthz``, ``/daemon/status``, ``/daemon/pause`` and ``/daemon/resume``.

    Args:
        control: the worker.
    """

    async def healthz(_: web.Request) -> web.Response:
        return json_answer({"ok": True, "status": "live", "version": __version__})

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
        web.get("/daemon/status", status),
        web.post("/daemon/pause", pause),
        web.post("/daemon/resume", resume),
    ]
