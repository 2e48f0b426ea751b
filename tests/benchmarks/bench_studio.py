"""A studio in a process of its own that offers jobs one after another to one worker and takes the time.

Started as ``python bench_studio.py {json|upload} JOBS``; prints ``{"url"}`` when it listens and, once all jobs are
done, one line of JSON: the seconds from each offer to its acknowledgement.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import WSMsgType, web
from noop_engine import SIDE

PREFIX = "/graphics/api"


class BenchStudio:
    def __init__(self, mode: str, jobs: int, folder: Path) -> None:
        self.mode, self.jobs, self.folder = mode, jobs, folder
        self.times: list[float] = []
        self.uploaded: asyncio.Queue[str] = asyncio.Queue()
        self.done = asyncio.Event()

    async def register(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"requestId": "rr-1", "status": "pending"})

    async def poll(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "approved", "workerId": "w-1", "authToken": "t-1"})

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(protocols=("studio-worker-v1",), compress=False)
        await ws.prepare(request)
        await ws.receive()
        await ws.send_str('{"type":"welcome","workerId":"w-1","serverTime":"2026-01-01T00:00:00.000Z"}')
        frames: asyncio.Queue[dict] = asyncio.Queue()
        reader = asyncio.create_task(self.read(ws, frames))
        for number in range(self.jobs):
            await self.one_job(ws, frames, f"j-{number}")
        self.done.set()
        await reader
        return ws

    async def read(self, ws: web.WebSocketResponse, frames: asyncio.Queue[dict]) -> None:
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            if frame["type"] == "heartbeat":
                await ws.send_str('{"type":"heartbeatAck"}')
            elif frame["type"] in ("accept", "completeJson", "fail", "reject"):
                frames.put_nowait(frame)

    async def one_job(self, ws: web.WebSocketResponse, frames: asyncio.Queue[dict], job_id: str) -> None:
        claim = {
            "jobId": job_id,
            "gameId": "g",
            "assetName": "a",
            "model": "noop",
            "vramGbEstimate": 0,
            "task": self.task(),
            "modelSource": {"engine": "noop", "files": [], "cliDefaults": {}},
        }
        begin = time.perf_counter()
        await ws.send_str(json.dumps({"type": "offer", "claim": claim}))
        self.expect(await frames.get(), "accept", job_id)
        if self.mode == "json":
            self.expect(await frames.get(), "completeJson", job_id)
            await ws.send_str(json.dumps({"type": "completeAck", "jobId": job_id}))
        else:
            assert await self.uploaded.get() == job_id
        self.times.append(time.perf_counter() - begin)

    def task(self) -> dict:
        """The task of one job; an llm job's prompt is the time of its offer, by the clock that all processes share."""
        if self.mode == "json":
            return {"kind": "llm", "messages": [{"role": "user", "content": f"{time.monotonic():.6f}"}]}
        return {"kind": "image", "prompt": "ping", "width": SIDE, "height": SIDE, "ext": "png"}

    def expect(self, frame: dict, kind: str, job_id: str) -> None:
        if frame["type"] != kind or frame["jobId"] != job_id:
            raise SystemExit(f"expected {kind} of {job_id}, got {frame}")

    async def complete(self, request: web.Request) -> web.Response:
        reader = await request.multipart()
        async for part in reader:
            if part.name == "image":
                with (self.folder / "result").open("wb") as file:
                    while chunk := await part.read_chunk(256 * 1024):
                        file.write(chunk)
            else:
                await part.text()
        self.uploaded.put_nowait(request.match_info["job"])
        return web.json_response({"ok": True})


async def main(mode: str, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        studio = BenchStudio(mode, jobs, Path(folder))
        app = web.Application(client_max_size=1024**3)
        app.router.add_post(PREFIX + "/workers/register-request", studio.register)
        app.router.add_get(PREFIX + "/workers/register-requests/{id}", studio.poll)
        app.router.add_get(PREFIX + "/workers/{worker}/connect", studio.connect)
        app.router.add_post(PREFIX + "/workers/{worker}/jobs/{job}/complete", studio.complete)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
        await studio.done.wait()
        print(json.dumps(studio.times), flush=True)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
