"""The admin's routes that only look: logs, the event stream, health."""

from __future__ import annotations

import asyncio

from aiohttp import web

from studio_worker.studio.access import Access
from studio_worker.studio.answers import Refusal, answer
from studio_worker.studio.bodies import limit_parameter, text_parameter, whole_parameter
from studio_worker.studio.events import Hub, Reader
from studio_worker.studio.store.port import Store
from studio_worker.studio.timings import Limits, Timings
from studio_worker.version import __version__

_KEEP_ALIVE = b": keep-alive\n\n"


class ViewRoutes:
    """`/logs`, `/events` and `/healthz`."""

    def __init__(self, store: Store, hub: Hub, access: Access, timings: Timings, limits: Limits) -> None:
        self._store = store
        self._hub = hub
        self._access = access
        self._timings = timings
        self._limits = limits

    async def health(self, request: web.Request) -> web.Response:
        """Handle `GET /healthz`: open to everybody, says nothing but that it runs."""
        return answer({"status": "ok", "version": __version__})

    async def logs(self, request: web.Request) -> web.Response:
        """Handle `GET /logs?workerId=&jobId=&after=&limit=`: oldest first; `after` is the last `seq` already seen."""
        self._access.require_admin(request)
        lines = await self._store.logs(
            text_parameter(request, "workerId"),
            text_parameter(request, "jobId"),
            whole_parameter(request, "after", None, 0, 10**18 - 1),
            limit_parameter(request),
        )
        return answer(
            [
                {
                    "seq": line.seq,
                    "workerId": line.worker_id,
                    **({"jobId": line.job_id} if line.job_id else {}),
                    "ts": line.at,
                    "level": line.level,
                    "category": line.category,
                    "message": line.message,
                }
                for line in lines
            ]
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Handle `GET /events`: server-sent events until the reader leaves, or is too slow."""
        self._access.require_admin(request)
        if self._hub.readers >= self._limits.event_readers:
            raise Refusal(503, "too many event streams are open", headers={"Retry-After": "5"})
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",
                "X-Content-Type-Options": "nosniff",
            }
        )
        transport = request.transport
        reader = self._hub.join(transport.abort if transport else lambda: None)
        try:
            await response.prepare(request)
            await response.write(b"retry: 1000\n: welcome\n\n")
            await self._pump(response, reader)
        except ConnectionError:
            return response
        finally:
            self._hub.leave(reader)
        return response

    async def _pump(self, response: web.StreamResponse, reader: Reader) -> None:
        while not reader.is_dropped:
            try:
                change = await reader.next(self._timings.keep_alive_secs)
            except TimeoutError:
                await response.write(_KEEP_ALIVE)
                continue
            if change is None:
                return
            await response.write(change.text())
            await asyncio.sleep(0)
