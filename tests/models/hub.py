"""A server of model files for the store, and a store that may ask it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web

from studio_worker.clock import SystemClock
from studio_worker.fetch.disk import DiskSpace
from studio_worker.fetch.download import Downloader, DownloadSettings
from studio_worker.fetch.guard import Guard
from studio_worker.models.ledger import Ledger
from studio_worker.models.store import Store
from studio_worker.wire.model_source import ModelSource, parse_model_source

DATA = bytes(range(1, 251)) * 20_000


class NoWait(SystemClock):
    """A clock whose pauses are over at once."""

    async def sleep(self, secs: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Hub:
    """A server of one file; `script` is taken answer by answer: a status, or how many bytes until the cut."""

    origin: str = ""
    data: bytes = DATA
    etag: str = '"one"'
    content_type: str = "application/octet-stream"
    script: list[tuple[str, int]] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Paths that are answered 404."""
    holds: set[str] = field(default_factory=set)
    """Paths whose body never ends."""
    endless: set[str] = field(default_factory=set)
    """Paths whose body goes on longer than anybody should listen, without a word about its length."""
    busy: int = 0
    busiest: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            return await self.answer(request)
        finally:
            self.busy -= 1

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range"))
        kind, number = self.script.pop(0) if self.script else ("cut", 10**9)
        if kind == "status":
            return web.Response(status=number, body=b"<html>busy</html>", content_type="text/html")
        if request.path in self.missing:
            return web.Response(status=404)
        if request.path in self.endless:
            return await self.pour(request)
        start = 0
        if (asked := request.headers.get("Range")) and request.headers.get("If-Range", self.etag) == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": self.etag, "Content-Type": self.content_type, "Content-Length": str(len(self.data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        if request.path in self.holds:
            await asyncio.Event().wait()
        end = min(len(self.data), number)
        for at in range(start, end, 65_536):
            await response.write(self.data[at : min(at + 65_536, end)])
        if end < len(self.data) and request.transport is not None:
            await asyncio.sleep(0)
            request.transport.close()
        return response

    async def pour(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(self.data[:65_536])
        return response


async def serve(hub: Hub) -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/{tail:.*}", hub.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hub.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner


def open_store(
    hub: Hub,
    root: Path,
    *,
    settings: dict[str, Any] | None = None,
    disk: DiskSpace | None = None,
    quota: int | None = None,
    ledger: Ledger | None = None,
) -> Store:
    downloader = Downloader(
        lambda: Guard(hub.origin),
        lambda: DownloadSettings(**(settings or {})),
        user_agent="test",
        clock=NoWait(),
        rng=Random(1),
        disk=disk,
    )
    links = root.parent / "links"
    return Store(lambda: root, downloader=downloader, quota_bytes=lambda: quota, links=links, ledger=ledger)


def file_of(hub: Hub, name: str, *, path: str = "", role: str = "model", **more: object) -> dict[str, object]:
    return {"role": role, "url": f"{hub.origin}{path}/{name}?sig=1", "filename": name, **more}


def source_of(*files: dict[str, object]) -> ModelSource:
    return parse_model_source({"engine": "onnx", "files": list(files)})
