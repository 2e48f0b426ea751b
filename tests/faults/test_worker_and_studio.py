"""Faults F-16, F-120 and F-123 with both sides real: this worker, this studio, and what happens between them."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from studio_worker import Worker
from studio_worker.config import Config
from studio_worker.studio.lost_claims import LostClaims
from studio_worker.studio.peer import Peer
from studio_worker.studio.uploads import Uploads
from studio_worker.testing.raw_worker import Admin
from studio_worker.testing.toxics import ToxicProxy
from studio_worker.wire.frames import Heartbeat

from .conftest import QUICK, Counting, HurriedClock, job, port_of, quick_studio

MORTAL = """
import asyncio, json, os, signal, sys
from pathlib import Path
from studio_worker.studio.server import StudioServer
from studio_worker.studio.settling import Settling

async def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(folder, port, fate):
    if fate == "dies":
        Settling._finish = die
    async with StudioServer(Path(folder), port=int(port), auto_approve=True) as studio:
        print(json.dumps({"url": studio.url, "token": studio.admin_token}), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def working(settings: Callable[..., Config], url: str, engine: Counting) -> AsyncIterator[Worker]:
    """A worker at a real studio."""
    config = settings(
        api_base_url=url, disabled_engines=(*settings().disabled_engines, "synthetic"), reconnect_base_secs=0.02
    )
    rng = random.Random(5)
    async with Worker(config, engines=[engine], clock=HurriedClock(), rng=rng, timings=QUICK) as worker:
        yield worker
        await worker.abandon()


async def mortal(folder: Path, port: int, fate: str) -> tuple[Process, dict[str, str]]:
    """A studio in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MORTAL, str(folder), str(port), fate, stdout=PIPE
    )
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())


async def test_a_studio_killed_between_storing_and_committing_takes_the_next_try_once(
    settings: Callable[..., Config], engine: Counting, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "studio"
    process, at = await mortal(folder, port, "dies")
    async with working(settings, at["url"], engine):
        await Admin(http, at["url"], at["token"]).add(job("job-1", "image"))
        assert await process.wait() == -9
        orphans = [path.name for path in (folder / "blobs").iterdir() if path.is_file()]
        assert len(orphans) == 1
        process, at = await mortal(folder, port, "lives")
        try:
            await Admin(http, at["url"], at["token"]).until("job-1", "done")
            blobs = [path.name for path in (folder / "blobs").iterdir() if path.is_file()]
        finally:
            process.terminate()
            await process.wait()

    assert len(blobs) == 1
    assert blobs != orphans


@pytest.mark.parametrize(
    ("answer", "runs"),
    [
        (web.Response(status=404), 2),
        (web.Response(text="<html>Welcome to our hotel</html>", content_type="text/html"), 1),
        (web.Response(status=409), 1),
    ],
    ids=["404", "a portal's page", "409 without a reason"],
)
async def test_a_job_whose_upload_something_in_between_has_answered_comes_home(
    settings: Callable[..., Config],
    engine: Counting,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: web.Response,
    runs: int,
) -> None:
    complete, answers = Uploads.complete, [answer]

    async def gateway(uploads: Uploads, request: web.Request) -> web.Response:
        if not answers:
            return await complete(uploads, request)
        await request.read()
        return answers.pop()

    monkeypatch.setattr(Uploads, "complete", gateway)
    async with quick_studio(tmp_path / "studio") as studio, working(settings, studio.url, engine):
        admin = Admin(http, studio.url, studio.admin_token)
        await admin.add(job("job-1", "image"))
        async with asyncio.timeout(20):
            done = await admin.until("job-1", "done")

    assert (done["attempts"], engine.runs["job-1"]) == (0, runs)


async def test_a_claim_stays_while_its_job_runs_and_while_its_upload_is_tried_again(
    settings: Callable[..., Config],
    engine: Counting,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complete, asked, is_up = Uploads.complete, asyncio.Event(), asyncio.Event()
    beat, beats = LostClaims.note, asyncio.Queue[Heartbeat]()

    async def gateway(uploads: Uploads, request: web.Request) -> web.Response:
        asked.set()
        return await complete(uploads, request) if is_up.is_set() else web.Response(status=503)

    async def noted(claims: LostClaims, peer: Peer, frame: Heartbeat) -> None:
        await beat(claims, peer, frame)
        beats.put_nowait(frame)

    monkeypatch.setattr(Uploads, "complete", gateway)
    monkeypatch.setattr(LostClaims, "note", noted)
    engine.open.clear()
    async with quick_studio(tmp_path / "studio") as studio, working(settings, studio.url, engine):
        admin = Admin(http, studio.url, studio.admin_token)
        await admin.add(job("job-1", "image"))
        await engine.entered.get()
        for _ in range(20):
            await beats.get()
        engine.open.set()
        await asked.wait()
        for _ in range(beats.qsize() + 20):
            await beats.get()
        claimed = await admin.job("job-1")
        is_up.set()
        async with asyncio.timeout(20):
            await admin.until("job-1", "done")

    assert claimed["state"] == "claimed"
    assert engine.runs["job-1"] == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_worker_and_studio_bring_every_job_home_once_over_a_network_that_flaps(
    settings: Callable[..., Config], engine: Counting, http: aiohttp.ClientSession, tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    jobs = [job(f"job-{number}", rng.choice(["llm", "image"])) for number in range(60)]
    async with (
        quick_studio(tmp_path / "studio") as studio,
        ToxicProxy(port_of(studio), seed=seed) as proxy,
    ):
        admin = Admin(http, studio.url, studio.admin_token)
        async with working(settings, proxy.url, engine):
            for each in jobs:
                await admin.add(each)

            cuts = 0

            async def flap() -> None:
                nonlocal cuts
                while True:
                    await asyncio.sleep(rng.uniform(0.002, 0.05))
                    cuts += 1
                    proxy.cut_all(by_reset=rng.random() < 0.5)

            flapping = asyncio.create_task(flap())
            try:
                async with asyncio.timeout(25):
                    for each in jobs[:-5]:
                        await admin.until(each["id"], "done")
            finally:
                flapping.cancel()
                await asyncio.gather(flapping, return_exceptions=True)
            for each in jobs:
                await admin.until(each["id"], "done")
        found = [await admin.job(each["id"]) for each in jobs]

    assert cuts > 5
    assert {each["state"] for each in found} == {"done"}
    assert len([path for path in (tmp_path / "studio" / "blobs").iterdir() if path.is_file()]) == sum(
        each["task"]["kind"] == "image" for each in jobs
    )
