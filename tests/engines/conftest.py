"""Little plugin distributions on disk, engines to run, and the calls to run them with."""

import asyncio
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from studio_worker.config import Config
from studio_worker.engines.base import Engine, EngineCapabilities, EngineJob, LlmResult
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.entry_points import PluginRef, list_plugins
from studio_worker.engines.given import GivenEngine, describe_factories
from studio_worker.engines.host import EngineCall, Host
from studio_worker.engines.installed_engines import ListedEngines
from studio_worker.engines.router import Route
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import parse_task

from .packages import list_files

PATIENT = 60.0
"""Seconds: no test is about how fast a child is, but for those that hang."""

ENGINE_SOURCE = """
from studio_worker import Engine, EngineCapabilities, ImageResult, TaskKind, hookimpl


class Mine(Engine):
    name = "{name}"

    def capabilities(self):
        return EngineCapabilities({{TaskKind.IMAGE: ["{name}:*"]}})

    def run(self, job):
        return ImageResult(b"x", "png")
"""

TASKS: dict[TaskKind, dict[str, Any]] = {
    TaskKind.IMAGE: {"prompt": "a lighthouse"},
    TaskKind.LLM: {"messages": [{"role": "user", "content": "hello there"}]},
    TaskKind.AUDIO_STT: {"inputUrl": "https://example.com/a.wav"},
    TaskKind.AUDIO_TTS: {"text": "hello there"},
    TaskKind.VIDEO: {"prompt": "waves"},
}


class PluginShop:
    """Makes distributions with entry points in a folder of `sys.path`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, source: str, *, version: str = "1.0", hooks: str = "[Mine()]", value: str = "") -> str:
        """A distribution `name` whose entry point, called so too, is a module of `source`; the module's name."""
        module = f"plugin_{name}".replace("-", "_")
        text = textwrap.dedent(source)
        if "class Mine" in text and "def studio_worker_engines" not in text:
            text += f"\n\n@hookimpl\ndef studio_worker_engines(config):\n    return {hooks}\n"
        (self.folder / f"{module}.py").write_text(text)
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[studio_worker]\n{name} = {value or module}\n")
        return module

    def engine(self, name: str, body: str = "", **options: Any) -> str:
        """A well-behaved distribution of one engine, with `body` added to its class."""
        source = ENGINE_SOURCE.format(name=name) + textwrap.indent(textwrap.dedent(body), "    ")
        return self.make(name, source, **options)

    def refs(self, *names: str) -> list[PluginRef]:
        """What is listed of the distributions made here, those called `names` where names are given."""
        made = {path.name.partition("-")[0].replace("_", "-") for path in self.folder.glob("*.dist-info")}
        return [ref for ref in list_plugins() if ref.distribution in (names or made)]

    async def described(
        self, *names: str, tables: Any = None, disabled: Any = (), timeout_secs: float = PATIENT, **options: Any
    ) -> tuple[EngineDescription, ...]:
        """The engines of the same, each plugin asked anew."""
        config = Config(
            api_base_url=None,
            state_dir=self.folder.parent / "state",
            plugins=tables or {},
            disabled_engines=tuple(disabled),
        )
        only = [ref.name for ref in self.refs(*names)]
        return await ListedEngines(only=only, timeout_secs=timeout_secs, **options).described(config)

    async def described_one(self, **options: Any) -> EngineDescription:
        """The only engine of what was made here."""
        (engine,) = await self.described(**options)
        return engine


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginShop]:
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield PluginShop(folder)
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


@pytest.fixture
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """Every record that studio_worker logs: its bound fields, its message and its level."""
    lines: list[dict[str, Any]] = []

    def keep(message: Any) -> None:
        record = message.record
        lines.append({**record["extra"], "message": record["message"], "level": record["level"].name})

    logger.enable("studio_worker")
    sink = logger.add(keep, level="DEBUG", format="{message}")
    yield lines
    logger.remove(sink)
    logger.disable("studio_worker")


class ToyEngine(Engine):
    """An engine whose `run` is a function given to it."""

    def __init__(self, run: Callable[[EngineJob], Any], *, kind: TaskKind = TaskKind.LLM, name: str = "toy") -> None:
        self.name = name
        self.isolation = "loop" if asyncio.iscoroutinefunction(run) else "thread"
        self.kind = kind
        if self.isolation == "loop":

            async def call(job: EngineJob) -> Any:
                return await run(job)

            self.run = call
        else:
            self.run = run

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({self.kind: [self.name]})

    def run(self, job: EngineJob) -> Any:
        raise NotImplementedError


ANSWER = LlmResult({"object": "chat.completion", "choices": []})


@pytest.fixture
def toy() -> type[ToyEngine]:
    return ToyEngine


@pytest.fixture
def answer() -> LlmResult:
    return ANSWER


class Bench:
    """A host with engines given to it, and calls for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: list[Host] = []
        self.progress: list[tuple[int, int, str, bytes | None]] = []
        self.jobs = 0

    def host(
        self, *engines: Engine | GivenEngine, descriptions: tuple[EngineDescription, ...] = (), **options: Any
    ) -> Host:
        host = Host(descriptions, given=engines, **options)
        self.hosts.append(host)
        return host

    async def factory_host(self, *factories: str, **options: Any) -> Host:
        """A host with the engines of factories, ``package.module:factory``."""
        return self.host(*await describe_factories(factories), **options)

    def call(
        self,
        host: Host,
        name: str = "toy",
        *,
        model: ModelFiles | None = None,
        task: dict[str, Any] | None = None,
        inputs: dict[str, Path] | None = None,
        on_progress: Callable[..., None] | None = None,
        kind: TaskKind | None = None,
        on_chunk: Callable[..., None] | None = None,
    ) -> EngineCall:
        engine = next(engine for engine in host.descriptions if engine.name == name)
        kind = kind or engine.kinds[0]
        self.jobs += 1
        work_dir = self.folder / f"job-{self.jobs}"
        work_dir.mkdir()
        return EngineCall(
            job_id=f"j-{self.jobs}",
            route=Route(engine, kind, name, None, "model"),
            task=parse_task({"kind": kind.value, **TASKS[kind], **(task or {})}),
            model=model or ModelFiles(name),
            inputs=inputs or {},
            seed=7,
            work_dir=work_dir,
            on_progress=on_progress or (lambda *report: self.progress.append(report)),
            on_chunk=on_chunk,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> Any:
    folder = tmp_path / "work"
    folder.mkdir()
    bench = Bench(folder)
    yield bench
    for host in bench.hosts:
        await host.aclose()


def files_of(folder: Path, name: str, content: bytes = b"weights", **options: Any) -> ModelFiles:
    path = folder / name
    path.write_bytes(content)
    return ModelFiles(name, files={"model": [path]}, options=LoadOptions(**options), dir=folder)


@pytest.fixture
def model_files() -> Callable[..., ModelFiles]:
    return files_of


def described(name: str, **fields: Any) -> EngineDescription:
    """An available description: one kind, one label, the source id of its name."""
    return EngineDescription(
        **{
            "name": name,
            "distribution": f"studio-worker-{name}",
            "version": "1.0",
            "plugin": name,
            "sources": (name,),
            "models": {TaskKind.IMAGE: (f"{name}:*",)},
            **fields,
        }
    )


@pytest.fixture
def describe() -> Callable[..., EngineDescription]:
    return described


PROCESS_SOURCE = """
import ctypes, json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from studio_worker import (
    AudioChunk, AudioResult, BadInput, Engine, EngineCapabilities, EngineError, Estimate, ImageResult, LlmResult,
    OutOfMemory, TaskKind, TextDelta, UnsupportedTask, VideoResult, hookimpl,
)


class Mine(Engine):
    name = "{name}"
    concurrency = {concurrency}

    def capabilities(self):
        return EngineCapabilities({{TaskKind("{kind}"): ["{name}:*"]}})

    def run(self, job):
        return say(pid=os.getpid())


def say(**values):
    return LlmResult({{"object": "chat.completion", **values}})


def words(job):
    return job.task.messages[-1].content
"""


class Workshop:
    """Engines with processes of their own: a body of a class becomes a plugin, a description and a host."""

    def __init__(self, bench: Bench, shop: PluginShop) -> None:
        self.bench = bench
        self.shop = shop
        self.deaths: list[tuple[tuple[str, str, str, int], str | None, str]] = []

    def host(
        self,
        body: str = "",
        *,
        kind: TaskKind = TaskKind.LLM,
        concurrency: int = 1,
        name: str = "toy",
        module: str = "",
        **options: Any,
    ) -> Host:
        return self.host_of(self.engine(body, kind, concurrency, name, module), **options)

    def host_of(self, *engines: EngineDescription, **options: Any) -> Host:
        options = {"cancel_grace_secs": WAIT_SECS, "on_death": lambda *death: self.deaths.append(death), **options}
        return self.bench.host(descriptions=engines, **options)

    def engine(
        self,
        body: str = "",
        kind: TaskKind = TaskKind.LLM,
        concurrency: int = 1,
        name: str = "toy",
        module: str = "",
    ) -> EngineDescription:
        """A plugin whose engine's class gets `body`, its module `module`."""
        source = PROCESS_SOURCE.format(name=name, kind=kind.value, concurrency=concurrency)
        head, mark, tail = source.partition("\n\ndef say(")
        source = head + "\n" + textwrap.indent(textwrap.dedent(body), "    ") + mark + tail + textwrap.dedent(module)
        entry_point = self.shop.make(name, source)
        return described(
            name, entry_point=entry_point, models={kind: (f"{name}:*",)}, isolation="process", concurrency=concurrency
        )

    async def run(self, host: Host, said: str = "hello", **options: Any) -> Any:
        """The result of one job; an LLM's answer as its JSON."""
        output = await within(host.run(self.call(host, said, **options)))
        return output.result.json if isinstance(output.result, LlmResult) else output.result

    def call(self, host: Host, said: str = "hello", *, name: str = "toy", **options: Any) -> EngineCall:
        (engine,) = [engine for engine in host.descriptions if engine.name == name]
        task = {"messages": [{"role": "user", "content": said}]} if TaskKind.LLM in engine.kinds else {}
        return self.bench.call(host, name, **{"task": task, **options})

    async def pid(self, host: Host) -> int:
        return (await self.run(host))["pid"]


WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, WAIT_SECS)


@pytest.fixture
def workshop(bench: Bench, shop: PluginShop) -> Workshop:
    return Workshop(bench, shop)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for something in another process that tells nobody, such as a file or the end of a process."""

    async def wait(holds: Callable[[], Any]) -> Any:
        async with asyncio.timeout(WAIT_SECS):
            while not (found := holds()):
                await asyncio.sleep(0.005)
        return found

    return wait


@pytest.fixture
def fox_module(shop: PluginShop) -> Path:
    """The module of an installed package ``fox`` whose files are listed."""
    module = shop.folder / f"{shop.engine('fox')}.py"
    list_files(shop.folder / "fox-1.0.dist-info", module)
    return module
