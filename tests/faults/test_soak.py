"""The soak: many jobs of both result kinds through a network that is cut, by a worker that is killed, at random.

Short in each run of the tests; `make soak` runs a thousand of each. A seed is printed and repeats its choices (not the
machine's pace). Every fault leaves a receipt, with the stages that the worker's journal had its open jobs in.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from studio_worker.jobs.journal_file import journal_path
from studio_worker.testing.raw_worker import Admin
from studio_worker.testing.toxics import Latency, ToxicProxy

from .conftest import QUICK, job, port_of, quick_studio

STAGES = ("running", "delivering", "waiting")
"""Where faults are aimed at. What lies between them passes in less than a look at the journal takes."""

SIZE = int(os.environ.get("SOAK", "0"))
"""Kills of the worker, cuts of the network, and jobs at least, of a long run; 0 is a short one."""

ROUNDS = -(-SIZE // len(STAGES)) or 2
FAULTS = [(kind, stage) for kind in ("kill", "cut") for stage in STAGES] * ROUNDS
JOBS = SIZE or 30
WAITING = 4
"""Jobs that the studio has to give at any time."""

PATIENCE_SECS = 40.0
LOOK_SECS = 0.001

MORTAL = """
import asyncio, random, sqlite3, sys
from contextlib import closing
from pathlib import Path
from studio_worker import Config, Worker
from studio_worker.events import JobDelivered
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.journal_file import journal_path
from studio_worker.jobs.journal_row import HELD
from studio_worker.log import set_up
from tests.faults.conftest import QUICK, Counting, HurriedClock, result_of

class Doomed(Counting):
    async def run(self, job):
        with closing(sqlite3.connect(f"file:{journal_path(home / 'state')}?mode=ro", uri=True)) as journal:
            asked = "SELECT stage, file, checksum FROM jobs WHERE job_id = ?"
            for stage, name, checksum in journal.execute(asked, (job.id,)):
                if stage in HELD and is_whole(name, checksum):
                    note("again", job.id, stage, job.task.kind)
                    await asyncio.sleep(0.1)
                    if job.id in acknowledged:
                        # The offer crossed the acknowledgement, whose row is written a few milliseconds later.
                        note("after", job.id, stage, job.task.kind)
        note("run", job.id)
        await asyncio.sleep(random.uniform(0, 0.03))
        return result_of(job)

def is_whole(name, checksum):
    # Row and file of a result are written side by side, and neither counts alone.
    path = home / "state" / "spool" / name
    return not name or (path.is_file() and checksum_of([path.read_bytes()]) == checksum)

def note(*words):
    with open(home / "runs", "a") as log:
        print(*words, file=log, flush=True)

async def main():
    set_up("error")
    config = Config(
        api_base_url=url, state_dir=home / "state", models_root=home / "models", reconnect_base_secs=0.02,
        register_poll_secs=0.05, disabled_engines=("piper", "whisper", "onnx", "llama", "sdcpp", "synthetic"),
    )
    async with Worker(config, engines=[Doomed()], clock=HurriedClock(), timings=QUICK) as worker:
        following = asyncio.create_task(follow(worker.events()))
        await worker.run()

async def follow(events):
    async for event in events:
        if isinstance(event, JobDelivered):
            acknowledged.add(event.job_id)

url, home, acknowledged = sys.argv[1], Path(sys.argv[2]), set()
asyncio.run(main())
"""


class Soak:
    """A studio's jobs, a worker's lives, and the faults between them."""

    def __init__(self, admin: Admin, proxy: ToxicProxy, home: Path, seed: int) -> None:
        self.admin, self.proxy, self.home = admin, proxy, home
        self.rng = random.Random(seed)
        self.jobs: dict[str, str] = {}
        self.done: dict[str, float] = {}
        self.receipts: list[tuple[str, float, frozenset[str]]] = []
        self.is_calm = False
        self._moved = asyncio.Event()
        self._process: Process | None = None

    async def live(self) -> None:
        """Start the worker."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MORTAL, self.proxy.url, str(self.home), cwd=Path(__file__).parents[2], stdin=DEVNULL
        )

    async def kill(self) -> None:
        """End the worker as nothing else does."""
        assert self._process is not None
        assert self._process.returncode is None, "the worker has ended by itself"
        self._process.kill()
        await self._process.wait()

    async def fault(self, kind: str, stage: str) -> None:
        """One fault, at a moment when a job is in a stage."""
        if stage == "waiting":
            # A result waits for another offer once a connection was lost under its delivery.
            while not await self._is_seen("waiting", 0.3):
                await self._strike("cut", "delivering")
        await self._strike(kind, stage)

    async def _strike(self, kind: str, stage: str) -> None:
        seen = self.stages()
        if stage not in seen:
            assert await self._is_seen(stage, PATIENCE_SECS), f"no job was {stage}: {self.stages()}"
        if kind == "kill":
            await self.kill()
            struck = self.stages()
            await self.live()
        else:
            struck = self.stages()
            self.proxy.cut_all(by_reset=self.rng.random() < 0.5)
        self.receipts.append((kind, time.monotonic(), struck))

    async def _is_seen(self, stage: str, secs: float) -> bool:
        until = time.monotonic() + secs
        while stage not in self.stages():
            if time.monotonic() > until:
                return False
            await asyncio.sleep(LOOK_SECS)
        return True

    def stages(self) -> frozenset[str]:
        """The stages of the jobs that are open in the journal."""
        path = journal_path(self.home / "state")
        if not path.exists():
            return frozenset()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
            try:
                rows = journal.execute("SELECT DISTINCT stage FROM jobs WHERE settled_at IS NULL").fetchall()
            except sqlite3.OperationalError:
                # Its first transaction is on its way.
                return frozenset()
        return frozenset(stage for (stage,) in rows)

    async def feed(self, count: int) -> None:
        """Queue jobs, so many and for as long as faults go on, a few at a time."""
        while len(self.jobs) < count or not self.is_calm:
            while len(self.jobs) - len(self.done) >= WAITING:
                self._moved.clear()
                await self._moved.wait()
            each = job(f"job-{len(self.jobs)}", self.rng.choice(["llm", "image"]))
            self.jobs[each["id"]] = each["task"]["kind"]
            await self.admin.add(each)

    async def watch(self) -> None:
        """Note each end of a job as the studio tells it."""
        async with self.admin.http.get(self.admin.base + "/events", headers=self.admin.headers) as stream:
            async for line in stream.content:
                if line.startswith(b"data:") and b'"done"' in line:
                    told = json.loads(line.removeprefix(b"data:"))
                    if told.get("state") == "done":
                        self.done.setdefault(told["jobId"], time.monotonic())
                        self._moved.set()

    @property
    def noted(self) -> list[list[str]]:
        """What the engine wrote down, over all lives."""
        return [line.split() for line in (self.home / "runs").read_text().splitlines()]

    def recovery(self) -> float:
        """Median from a cut to the next job that was done, in heartbeats."""
        ends = sorted(self.done.values())
        waits = [next((end - at for end in ends if end > at), 0.0) for kind, at, _ in self.receipts if kind == "cut"]
        return statistics.median(waits) / QUICK.heartbeat_secs


@pytest.mark.timeout(3_600 if SIZE else 120)
async def test_every_job_is_settled_once_whatever_is_cut_and_killed(
    http: aiohttp.ClientSession, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
    print(f"SOAK_SEED={seed}")
    async with (
        quick_studio(tmp_path / "studio") as studio,
        ToxicProxy(port_of(studio), seed=seed) as proxy,
    ):
        proxy.toxics = [Latency(0.02, 0.01)]
        soak = Soak(Admin(http, studio.url, studio.admin_token), proxy, tmp_path / "worker", seed)
        soak.home.mkdir()
        watching = asyncio.create_task(soak.watch())
        feeding = asyncio.create_task(soak.feed(JOBS))
        await soak.live()
        try:
            for kind, stage in soak.rng.sample(FAULTS, len(FAULTS)):
                await soak.fault(kind, stage)
            soak.is_calm = True
            async with asyncio.timeout(PATIENCE_SECS + SIZE):
                await feeding
                while len(soak.done) < len(soak.jobs):
                    await asyncio.sleep(0.01)
        finally:
            await soak.kill()
            watching.cancel()
            feeding.cancel()
            await asyncio.gather(watching, feeding, return_exceptions=True)
        found = [await soak.admin.job(each) for each in soak.jobs]

    blobs = [path for path in (tmp_path / "studio" / "blobs").iterdir() if path.is_file()]
    runs = Counter(words[1] for words in soak.noted if words[0] == "run")
    again = Counter(tuple(words[1:]) for words in soak.noted if words[0] == "again")
    again -= Counter(tuple(words[1:]) for words in soak.noted if words[0] == "after")
    struck = {(stage, kind) for kind, _, stages in soak.receipts for stage in stages}
    kinds = Counter(kind for kind, _, _ in soak.receipts)
    figures = {
        "seed": seed,
        "jobs, kills of the worker, cuts of the network": f"{len(found):,}, {kinds['kill']:,}, {kinds['cut']:,}",
        "jobs lost": sum(each["state"] != "done" for each in found),
        "results that the studio has twice": len(blobs) - list(soak.jobs.values()).count("image"),
        "engine runs after a result was kept": again.total(),
        "engine runs a job, on average": round(sum(runs.values()) / len(found), 2),
        "from a cut to the next result, median, in heartbeats": round(soak.recovery(), 1),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
        record_property(f"soak: {name}", value)
    assert {each["state"] for each in found} == {"done"}
    assert len(blobs) == list(soak.jobs.values()).count("image")
    assert set(runs) == set(soak.jobs)
    assert not again
    assert struck >= {(stage, kind) for stage in STAGES for kind in ("kill", "cut")}
