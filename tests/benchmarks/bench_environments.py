"""What an environment of its own costs an engine: first job and tiny jobs, against a process on the worker's Python."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import PIL
from bench_host import through

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.environments import look_into
from studio_worker.engines.host import Host
from studio_worker.wire.kinds import TaskKind

STARTS = 15
JOBS = 500
SOURCE = """
from process_engine import ProcessEngine

from studio_worker import hookimpl


@hookimpl
def studio_worker_engines(config):
    return [ProcessEngine()]
"""


@contextmanager
def installed(environments, monkeypatch, tmp_path) -> Iterator[tuple[EngineDescription, EngineDescription]]:
    """The engine of `process_engine` as a plugin beside the worker, and in an environment of its own."""
    here = Path(__file__).parent
    (tmp_path / "bench_plugin.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    home = environments.make("own")
    libraries = Path(PIL.__file__).parents[1]
    (environments.site(home) / "bench.pth").write_text(f"{here}\n{tmp_path}\n{libraries}\n")
    beside = EngineDescription(
        name="bench", distribution="bench", plugin="bench", entry_point="bench_plugin",
        models={TaskKind.LLM: ("bench",), TaskKind.IMAGE: ("bench",)},
    )  # fmt: skip
    yield beside, replace(beside, environment="own", python=str(home / "bin" / "python"))


def measured(engine: EngineDescription, folder: Path) -> dict[str, float]:
    async def run() -> dict[str, float]:
        cold = []
        for _ in range(STARTS):
            host = Host((engine,))
            cold += await through(host, TaskKind.LLM, folder, 1)
            if len(cold) == STARTS:
                tiny = await through(host, TaskKind.LLM, folder, JOBS)
            await host.aclose()
        return {"cold": median(cold), "tiny": median(tiny)}

    return asyncio.run(run())


def test_what_an_environment_of_its_own_costs_against_the_workers(report, tmp_path, environments, monkeypatch):
    with installed(environments, monkeypatch, tmp_path) as (beside, apart):
        # By turns, so that whatever else the machine does is in both.
        found = [(measured(beside, tmp_path), measured(apart, tmp_path)) for _ in range(2)]
    for name in ("cold", "tiny"):
        own = median(pair[0][name] for pair in found)
        other = median(pair[1][name] for pair in found)
        report(f"{name}: beside the worker {own * 1e3:.2f} ms, apart {other * 1e3:.2f} ms, ratio {other / own:.2f}")
        assert other < 3 * own


def test_what_asking_an_environment_costs(report, environments):
    home = environments.serving("owl")

    async def ask() -> float:
        begun = time.perf_counter()
        await look_into("own", home)
        return time.perf_counter() - begun

    times = [asyncio.run(ask()) for _ in range(STARTS)]
    report(f"asked what an environment holds: {median(times) * 1e3:.0f} ms")
