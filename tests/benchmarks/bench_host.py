"""What an engine's own process costs: a call through the host against a direct call of the engine."""

import asyncio
import time
from pathlib import Path
from statistics import median

from loguru import logger
from process_engine import COMPLETION, PICTURE, ProcessEngine

from studio_worker.engines.base import EngineJob
from studio_worker.engines.given import describe_factories
from studio_worker.engines.host import EngineCall, Host
from studio_worker.engines.router import Route
from studio_worker.models.files import ModelFiles
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import parse_task

JOBS = 1_000
ROUNDS = 30
TASKS = {
    TaskKind.LLM: parse_task({"kind": "llm", "messages": [{"role": "user", "content": "ping"}]}),
    TaskKind.IMAGE: parse_task({"kind": "image", "prompt": "noise"}),
}


def direct(kind: TaskKind, folder: Path, rounds: int) -> list[float]:
    engine, times = ProcessEngine(), []
    for _ in range(rounds):
        begun = time.perf_counter()
        job = EngineJob(id="j", model="bench", task=TASKS[kind], seed=1, work_dir=folder, log=logger)
        engine.run(job)
        times.append(time.perf_counter() - begun)
    return times


async def through(host: Host, kind: TaskKind, folder: Path, rounds: int) -> list[float]:
    (engine,) = host.descriptions
    times = []
    for _ in range(rounds):
        call = EngineCall(
            job_id="j", route=Route(engine, kind, "bench", None, "model"), task=TASKS[kind], model=ModelFiles("bench"),
            inputs={}, seed=1, work_dir=folder, on_progress=lambda *report: None,
        )  # fmt: skip
        begun = time.perf_counter()
        await host.run(call)
        times.append(time.perf_counter() - begun)
    return times


def measured(isolation: str, folder: Path) -> dict[str, float]:
    async def run() -> dict[str, float]:
        given = "process_engine:ProcessEngine" if isolation == "process" else ProcessEngine()
        if isolation == "thread":
            given.isolation = "thread"
        host = Host((), given=await describe_factories([given]))
        try:
            (cold,) = await through(host, TaskKind.LLM, folder, 1)
            tiny = await through(host, TaskKind.LLM, folder, JOBS)
            large = await through(host, TaskKind.IMAGE, folder, ROUNDS)
        finally:
            await host.aclose()
        return {"first": cold, "tiny": median(tiny), "all": sum(tiny), "1 MiB": median(large)}

    return asyncio.run(run())


def test_what_a_process_costs_a_job_against_a_thread(report, tmp_path):
    floor = {
        "tiny": median(direct(TaskKind.LLM, tmp_path, JOBS)),
        "1 MiB": median(direct(TaskKind.IMAGE, tmp_path, ROUNDS)),
    }
    found = {isolation: measured(isolation, tmp_path) for isolation in ("thread", "process")}
    report(f"direct call: tiny {floor['tiny'] * 1e6:.1f} us, 1 MiB {floor['1 MiB'] * 1e6:.1f} us")
    for isolation, times in found.items():
        report(
            f"{isolation}: first job {times['first'] * 1e3:.0f} ms, then a tiny job {times['tiny'] * 1e3:.3f} ms "
            f"({JOBS:,} of them {times['all']:.2f} s), 1 MiB {times['1 MiB'] * 1e3:.2f} ms"
        )
    thread, process = found["thread"], found["process"]
    report(
        f"process / thread: tiny {process['tiny'] / thread['tiny']:.1f}, 1 MiB {process['1 MiB'] / thread['1 MiB']:.1f}"
    )
    assert len(PICTURE) >= 1024 * 1024
    assert COMPLETION
    assert process["tiny"] < 20 * thread["tiny"]
