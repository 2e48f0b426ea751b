"""What many jobs do to one worker: how soon the engine is called, how many jobs a second, whether anything grows."""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from noop_engine import COMPLETION, NoopEngine

from studio_worker import Config, EngineJob, LlmResult, Worker

HERE = Path(__file__).parent
JOBS = 10_000
WARM_UP = 1_000
MAX_GROWTH_MB = 8.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    rss: int
    tasks: int
    files: int

    @classmethod
    def now(cls) -> "Footprint":
        gc.collect()
        process = psutil.Process()
        return cls(process.memory_info().rss, len(asyncio.all_tasks()), process.num_fds())


class TimedEngine(NoopEngine):
    """Notes how long after its offer each job is called, and the footprint after the warm-up and at the end."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.footprints: list[Footprint] = []

    async def run(self, job: EngineJob) -> LlmResult:
        self.delays.append(time.monotonic() - float(job.task.messages[-1].content))
        if len(self.delays) in (WARM_UP, WARM_UP + JOBS):
            self.footprints.append(Footprint.now())
        return LlmResult(COMPLETION)


async def test_ten_thousand_jobs_leave_nothing_behind(tmp_path, report):
    engine = TimedEngine()
    arguments = [sys.executable, HERE / "bench_studio.py", "json", str(WARM_UP + JOBS)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as studio:
        try:
            url = json.loads(studio.stdout.readline())["url"]
            config = Config(api_base_url=url, state_dir=tmp_path, register_poll_secs=0.05)
            async with Worker(config, engines=[engine]):
                (times,) = json.loads(await asyncio.to_thread(studio.stdout.readline)).values()
        finally:
            studio.kill()
    times = times[WARM_UP:]
    before, after = engine.footprints
    grown = (after.rss - before.rss) / MIB
    delays = statistics.quantiles(engine.delays[WARM_UP:], n=20)
    report(f"offer sent to engine called: median {delays[9] * 1000:.2f} ms, p95 {delays[18] * 1000:.2f} ms")
    report(f"sustained: {len(times) / sum(times):,.0f} jobs a second, one at a time, over {len(times):,} jobs")
    report(
        f"growth over them: {grown:+.1f} MB, {after.tasks - before.tasks:+} tasks, {after.files - before.files:+} files"
    )
    assert grown <= MAX_GROWTH_MB
    assert (after.tasks, after.files) == (before.tasks, before.files)
