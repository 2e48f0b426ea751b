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
JOBS = 50
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


def measured(engines: tuple[EngineDescription, ...], folder: Path) -> list[dict[str, float]]:
    """Starts of each by turns, so that whatever else the machine does is in both; then jobs, by turns in blocks."""
    found: list[dict[str, list[float]]] = [{"first job": [], "tiny job": []} for _ in engines]

    async def run() -> None:
        for _ in range(STARTS):
            for engine, times in zip(engines, found, strict=True):
                host = Host((engine,))
                times["first job"] += await through(host, TaskKind.LLM, folder, 1)
                times["tiny job"] += await through(host, TaskKind.LLM, folder, JOBS)
                await host.aclose()

    asyncio.run(run())
    return [{name: median(times) for name, times in each.items()} for each in found]


def test_what_an_environment_of_its_own_costs_against_the_workers(report, tmp_path, environments, monkeypatch):
    with installed(environments, monkeypatch, tmp_path) as engines:
        beside, apart = measured(engines, tmp_path)
    for name in beside:
        ratio = apart[name] / beside[name]
        report(f"{name}: beside the worker {beside[name] * 1e3:.2f} ms, apart {apart[name] * 1e3:.2f} ms, {ratio:.2f}")
        assert ratio < 3


def test_what_asking_an_environment_costs(report, environments):
    home = environments.serving("owl")

    async def ask() -> float:
        begun = time.perf_counter()
        await look_into("own", home)
        return time.perf_counter() - begun

    times = [asyncio.run(ask()) for _ in range(STARTS)]
    report(f"asked what an environment holds: {median(times) * 1e3:.0f} ms")
