"""Workers that accept, refuse, fail, vanish and come back in any order: what must hold at the end of every game."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Timings
from studio_worker.testing.raw_worker import Admin, RawWorker, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]
JOBS = 12
GOOD = ("finish", "finish", "finish")
WILD = (*GOOD, "busy", "firm", "retryable", "fatal", "vanish", "vanish after accept", "say nothing")


class Player:
    """One worker that answers each offer as its dice say; it counts what it was told."""

    def __init__(self, worker: RawWorker, dice: random.Random, moves: tuple[str, ...]) -> None:
        self.worker = worker
        self.dice = dice
        self.moves = moves
        self.acknowledged: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    async def play(self) -> None:
        while True:
            try:
                await self.worker.connect(maxConcurrentJobs=self.dice.choice([1, 1, 3]))
                await self._session()
            except (AssertionError, ConnectionError, aiohttp.ClientError):
                await asyncio.sleep(0)

    async def _session(self) -> None:
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._beat())
            try:
                while True:
                    frame = await self.worker.receive()
                    if frame["type"] == "offer":
                        await self._answer(frame["claim"])
                    elif frame["type"] == "completeAck":
                        self.acknowledged[frame["jobId"]] += 1
                    elif frame["type"] == "error":
                        raise ConnectionError(frame["message"])
            except (AssertionError, ConnectionError, aiohttp.ClientError):
                await self.worker.close()
            finally:
                beating.cancel()

    async def _beat(self) -> None:
        while True:
            try:
                await self.worker.beat()
            except (ConnectionError, aiohttp.ClientError):
                return
            await asyncio.sleep(0.02)  # the pace of heartbeats is part of the game

    async def _answer(self, claim: dict[str, Any]) -> None:
        job_id, move = claim["jobId"], self.dice.choice(self.moves)
        if move == "busy":
            await self.worker.send("reject", jobId=job_id, code="busy", reason="x")
        elif move == "firm":
            self.failures[job_id] += 1
            await self.worker.send("reject", jobId=job_id, reason="I do not like it")
        elif move == "vanish":
            raise ConnectionError("gone")
        elif move != "say nothing":
            await self.worker.send("accept", jobId=job_id, attempt=claim["attempt"])
            await self._work(claim, move)

    async def _work(self, claim: dict[str, Any], move: str) -> None:
        job_id = claim["jobId"]
        if move == "vanish after accept":
            raise ConnectionError("gone")
        if move in ("retryable", "fatal"):
            self.failures[job_id] += 1
            await self.worker.send("fail", jobId=job_id, error=move, retryable=move == "retryable")
        elif claim["task"]["kind"] == "image":
            status, said = await self.worker.upload(job_id, attempt=str(claim["attempt"]))
            assert status in (200, 409), said
            if status == 200:
                self.acknowledged[job_id] += 1
        else:
            await self.worker.send("completeJson", jobId=job_id, result={"by": self.worker.worker_id})


@pytest.fixture
def timings() -> Timings:
    return Timings(sweep_secs=0.05, stale_secs=5, offer_secs=0.2, close_secs=0.2, shutdown_secs=0.5)


async def game(studio: StudioServer, admin: Admin, seed: int, moves: tuple[str, ...]) -> list[Player]:
    """Play until no job waits or runs; the players, whose counts are then final."""
    dice = random.Random(seed)
    players = [
        Player(await RawWorker.admitted(admin.http, studio.url, admin), random.Random(seed * 10 + n), moves)
        for n in range(3)
    ]
    for number in range(JOBS):
        await admin.add((image_job if dice.random() < 0.4 else llm_job)(f"job-{number}"))
    tasks = [asyncio.create_task(player.play()) for player in players]
    try:
        async with asyncio.timeout(60):
            while any(job["state"] in ("queued", "claimed") for job in await admin.get("/jobs")):
                if dice.random() < 0.05:
                    await admin.call("POST", f"/jobs/job-{dice.randrange(JOBS)}/cancel")
                await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return players


@pytest.mark.parametrize("seed", range(8))
async def test_every_game_ends_and_no_job_is_done_twice(studio: StudioServer, admin: Admin, seed: int) -> None:
    players = await game(studio, admin, seed, WILD)

    acknowledged = sum((player.acknowledged for player in players), Counter())
    for job in await admin.get("/jobs"):
        assert job["state"] in ("done", "failed", "cancelled")
        assert job["attempts"] <= 3
        if job["state"] == "failed":
            assert job["error"]
        if job["state"] == "done":
            assert acknowledged[job["jobId"]] <= 1
            assert "result" in job or "resultUrl" in job


@pytest.mark.parametrize("seed", range(4))
async def test_where_workers_only_vanish_or_are_busy_no_attempt_is_counted(
    studio: StudioServer, admin: Admin, seed: int
) -> None:
    await game(studio, admin, seed, (*GOOD, "busy", "vanish", "vanish after accept", "say nothing"))

    for job in await admin.get("/jobs"):
        assert job["attempts"] == 0
        assert job["state"] in ("done", "cancelled")


@pytest.mark.parametrize("seed", range(4))
async def test_failures_are_counted_exactly(studio: StudioServer, admin: Admin, seed: int) -> None:
    players = await game(studio, admin, seed, (*GOOD, "retryable", "fatal", "firm"))

    failures = sum((player.failures for player in players), Counter())
    for job in await admin.get("/jobs"):
        if job["state"] != "cancelled":
            assert job["attempts"] == failures[job["jobId"]], job


@pytest.mark.parametrize("seed", range(4))
async def test_after_a_game_the_folder_holds_one_blob_for_each_binary_result(
    studio: StudioServer, admin: Admin, tmp_path: Any, seed: int
) -> None:
    await game(studio, admin, seed, WILD)

    folder = tmp_path / "data" / "blobs"
    stored = [path for path in folder.iterdir() if path.is_file()]
    assert len(stored) == sum("resultUrl" in job for job in await admin.get("/jobs"))
