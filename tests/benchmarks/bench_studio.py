"""A studio in a process of its own that offers jobs one after another and takes the time.

Started as ``python bench_studio.py {json|upload} JOBS [WORKERS]``; prints ``{"url"}`` when it listens and, once each
of the workers has done its jobs, one line of JSON: by worker id, the seconds from each offer to its acknowledgement.
Several workers are served in turns of `TURN` jobs, so that whatever else the machine does meets all of them.
"""

import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web
from noop_engine import SIDE

PREFIX = "/graphics/api"
TURN = 50
MEMORY_DISK = Path("/dev/shm")
"""A studio writes to a disk of its own: where both share one, each sync of the worker waits for the studio too."""


@dataclass
class Peer:
    """A worker that said hello."""

    ws: web.WebSocketResponse
    frames: asyncio.Queue[dict] = field(default_factory=asyncio.Queue)
    times: list[float] = field(default_factory=list)

    async def read(self) -> None:
        async for message in self.ws:
            if message.type is not WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            if frame["type"] == "heartbeat":
                await self.ws.send_str('{"type":"heartbeatAck"}')
            elif frame["type"] in ("accept", "completeJson", "fail", "reject"):
                self.frames.put_nowait(frame)


class BenchStudio:
    def __init__(self, mode: str, jobs: int, workers: int, folder: Path) -> None:
        self.mode, self.jobs, self.workers, self.folder = mode, jobs, workers, folder
        self.peers: dict[str, Peer] = {}
        self.is_full = asyncio.Event()
        self.uploaded: asyncio.Queue[str] = asyncio.Queue()

    async def register(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"requestId": "rr-1", "status": "pending"})

    async def poll(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "approved", "workerId": "w-1", "authToken": "t-1"})

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(protocols=("studio-worker-v1",), compress=False)
        await ws.prepare(request)
        await ws.receive()
        worker_id = request.match_info["worker"]
        welcome = {"type": "welcome", "workerId": worker_id, "serverTime": "2026-01-01T00:00:00.000Z"}
        await ws.send_str(json.dumps(welcome))
        self.peers[worker_id] = peer = Peer(ws)
        if len(self.peers) == self.workers:
            self.is_full.set()
        await peer.read()
        return ws

    async def all_jobs(self) -> dict[str, list[float]]:
        await self.is_full.wait()
        for start in range(0, self.jobs, TURN):
            for worker_id, peer in self.peers.items():
                for number in range(start, min(start + TURN, self.jobs)):
                    await self.one_job(peer, f"{worker_id}-{number}")
        return {worker_id: peer.times for worker_id, peer in self.peers.items()}

    async def one_job(self, peer: Peer, job_id: str) -> None:
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
        await peer.ws.send_str(json.dumps({"type": "offer", "claim": claim}))
        self.expect(await peer.frames.get(), "accept", job_id)
        if self.mode == "json":
            self.expect(await peer.frames.get(), "completeJson", job_id)
            await peer.ws.send_str(json.dumps({"type": "completeAck", "jobId": job_id}))
        else:
            assert await self.uploaded.get() == job_id
        peer.times.append(time.perf_counter() - begin)

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


async def main(mode: str, jobs: int, workers: int = 1) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None) as folder:
        studio = BenchStudio(mode, jobs, workers, Path(folder))
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
        print(json.dumps(await studio.all_jobs()), flush=True)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
