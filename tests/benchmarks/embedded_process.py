"""Several workers in one process, half of them at a studio.

Started as ``python embedded_process.py COUNT STUDIO_URL ADMIN_TOKEN FOLDER``; prints one line of JSON.
"""

import asyncio
import gc
import json
import statistics
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psutil
from noop_engine import NoopEngine

from studio_worker import Config, InstalledEngines, JobDelivered, LlmTask, Message, SessionOpened, Worker

IDLE_SECS = 10.0
JOBS = 400
STUDIO_JOBS = 2
TASK = LlmTask(messages=(Message(role="user", content="ping"),))
LINE = {"model": "noop", "modelSource": {"engine": "noop", "files": []}, "task": {"kind": "llm", **TASK.to_wire()}}
ME = psutil.Process()


def holds() -> dict[str, float]:
    """What this process has now."""
    gc.collect()
    return {"mb": ME.memory_info().rss / 1e6, "files": ME.num_fds(), "threads": threading.active_count()}


def cpu_secs() -> float:
    return sum(ME.cpu_times()[:2])


class Crew:
    """The workers, the odd ones at the studio."""

    def __init__(self, count: int, url: str, folder: Path, installed: InstalledEngines) -> None:
        self.installed = installed
        self.workers = [self.worker(folder / str(number), url if number % 2 else None) for number in range(count)]
        self.at_studio = self.workers[1::2]

    def worker(self, folder: Path, url: str | None) -> Worker:
        config = Config(
            api_base_url=url, state_dir=folder, models_root=folder, register_poll_secs=0.2, vram_threshold_gb=100
        )
        return Worker(config, engines=[NoopEngine()], installed=self.installed)

    async def start(self, stack: AsyncExitStack) -> None:
        """All of them at once, until those at the studio are welcome."""
        events = [worker.events() for worker in self.at_studio]
        await asyncio.gather(*(stack.enter_async_context(worker) for worker in self.workers))
        await asyncio.gather(*(seen(each, SessionOpened) for each in events))

    async def local_secs(self) -> list[float]:
        """The seconds of each of many jobs, one after another, from worker to worker."""
        times = []
        for number in range(JOBS):
            began = time.perf_counter()
            await self.workers[number % len(self.workers)].submit(TASK, model="noop")
            times.append(time.perf_counter() - began)
        return times

    async def studio_secs(self, url: str, token: str) -> float:
        """The seconds a job of a queue that all workers at the studio work off together."""
        events = [worker.events() for worker in self.at_studio]
        wanted = STUDIO_JOBS * len(self.at_studio)
        done = asyncio.Semaphore(0)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
            followers = [asyncio.create_task(count(each, done)) for each in events]
            began = time.perf_counter()
            for _ in range(wanted):
                async with http.post(f"{url}/graphics/api/jobs", json=LINE) as answer:
                    answer.raise_for_status()
            for _ in range(wanted):
                await done.acquire()
            secs = (time.perf_counter() - began) / wanted
        for follower in followers:
            follower.cancel()
        return secs


async def seen(events, kind: type) -> None:
    async for event in events:
        if isinstance(event, kind):
            return


async def count(events, done: asyncio.Semaphore) -> None:
    async for event in events:
        if isinstance(event, JobDelivered):
            done.release()


async def main(count: int, url: str, token: str, folder: Path) -> dict[str, float]:
    # What the first worker of a process brings in (modules, pools of threads) is no other's.
    installed = InstalledEngines()
    first = Crew(2, url, folder / "first", installed)
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        await first.start(stack)
        first_secs = time.perf_counter() - began
        await first.local_secs()
        await first.studio_secs(url, token)
    before = holds()
    crew = Crew(count, url, folder / "crew", installed)
    began, spent = time.perf_counter(), cpu_secs()
    async with AsyncExitStack() as stack:
        await crew.start(stack)
        start_secs, start_cpu = time.perf_counter() - began, cpu_secs() - spent
        times = await crew.local_secs()
        studio_secs = await crew.studio_secs(url, token) if crew.at_studio else 0.0
        after = holds()
        spent = cpu_secs()
        await asyncio.sleep(IDLE_SECS)
        idle = (cpu_secs() - spent) / IDLE_SECS
        began = time.perf_counter()
    return {
        "workers": count,
        "first_secs": first_secs,
        "start_secs": start_secs,
        "start_cpu": start_cpu,
        "stop_secs": time.perf_counter() - began,
        "job_ms": statistics.median(times) * 1000,
        "job_p95_ms": statistics.quantiles(times, n=20)[-1] * 1000,
        "studio_ms": studio_secs * 1000,
        "idle": idle,
        **{name: (after[name] - before[name]) / count for name in before},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])))))
