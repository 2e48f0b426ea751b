"""A worker as an embedder makes it: small folders, short waits, an engine that runs when a test lets it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings
from loguru import logger

from studio_worker.config import Config
from studio_worker.engines.base import Engine, EngineCapabilities, EngineJob, LlmResult
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import Task, parse_task

from .own_environments import OwnEnvironments

T = TypeVar("T")
PATIENCE_SECS = 20.0
NOT_HERE = ("llama", "onnx", "piper", "sdcpp", "whisper")
"""Installed beside this package in a checkout; describing them takes a child each, and no test here is about them."""

# `--hypothesis-profile=long`: fifty times as many examples, for a night; each failure prints what replays it.
hypothesis_settings.register_profile("long", max_examples=5_000, deadline=None, print_blob=True)


class Gate(Engine):
    """Completes texts once `opened` is set, up to four at once; `behave` replaces what it then does."""

    name = "gate"
    isolation = "loop"
    concurrency = 4

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.entered: asyncio.Queue[EngineJob] = asyncio.Queue()
        self.behave: Callable[[EngineJob], Any] = self.complete

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.LLM: ["gate-llm"]})

    async def run(self, job: EngineJob) -> Any:
        self.entered.put_nowait(job)
        job.progress(1, 2, stage="wait")
        await self.opened.wait()
        return self.behave(job)

    @staticmethod
    def complete(job: EngineJob) -> LlmResult:
        said = {"role": "assistant", "content": f"reply to {job.task.messages[-1].content}"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def words() -> Callable[..., Task]:
    """The task of completing a text."""

    def task(text: str = "hello", **fields: Any) -> Task:
        return parse_task({"kind": "llm", "messages": [{"role": "user", "content": text}], **fields})

    return task


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Config]:
    """Settings with a state folder of their own (`state`), without a studio unless one is named."""

    def make(state: str = "state", **fields: Any) -> Config:
        given = {
            "api_base_url": None,
            "state_dir": tmp_path / state,
            "models_root": tmp_path / "models",
            "register_poll_secs": 0.02,
            "reconnect_base_secs": 0.01,
            "disabled_engines": NOT_HERE,
        }
        return Config(**{**given, **fields})

    return make


@pytest.fixture
def soon() -> Callable[[Awaitable[T]], Awaitable[T]]:
    """Waits for something that must come."""

    async def wait(awaited: Awaitable[T]) -> T:
        async with asyncio.timeout(PATIENCE_SECS):
            return await awaited

    return wait


@pytest.fixture
def caplines() -> Iterator[list[dict[str, Any]]]:
    """The bound fields of every log line of the test, its sentence as `message` and its level as `level`."""
    lines: list[dict[str, Any]] = []

    def take(message: Any) -> None:
        record = message.record
        lines.append({"event": "", **record["extra"], "message": record["message"], "level": record["level"].name})

    logger.enable("studio_worker")
    handler = logger.add(take, level="DEBUG", format="{message}")
    yield lines
    logger.remove(handler)
    logger.disable("studio_worker")


class Traces:
    """What a process holds: threads, children, sockets and other files."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())
        self.children = {child.pid for child in psutil.Process().children(recursive=True)}
        self.files = open_files()

    def check(self) -> None:
        """Assert that nothing has been added since; threads that have been told to end may take a moment."""
        for thread in set(threading.enumerate()) - self.threads:
            thread.join(PATIENCE_SECS)
            assert not thread.is_alive(), f"{thread.name} goes on"
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= self.children
        if self._more_files():
            # uvloop closes what its callers have closed when the loop's own memory goes, which is in a circle.
            gc.collect()
        more = self._more_files()
        assert not more, f"left open: {more}"

    def _more_files(self) -> dict[int, str]:
        return {fd: what for fd, what in open_files().items() if self.files.get(fd) != what}


def open_files() -> dict[int, str]:
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[int(fd)] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return found


@pytest.fixture
def leaves_nothing() -> Callable[[], Any]:
    """``with leaves_nothing():`` asserts that the block has cleaned up after itself."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = Traces()
        yield
        before.check()

    return watch


class OtherProcess:
    """A process beside this one whose job uses model files, and that may download one, until a test ends it."""

    SCRIPT = """
import sys
from pathlib import Path
from filelock import FileLock
from studio_worker.fetch.resumable_file import lock_path
from studio_worker.models.ledger import Ledger
from studio_worker.models.shelf import look

kind, state, *paths = sys.argv[1:]
ledger = Ledger.of(Path(state))
if kind == "use":
    ledger.begin_use([look(Path(path)) for path in paths], model="org/used", now=1_000.0)
else:
    lock = FileLock(lock_path(Path(paths[0])))
    lock.acquire()
print("ready", flush=True)
sys.stdin.read()
"""

    def __init__(self, kind: str, state: Path, *paths: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, kind, str(state), *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """End it as a crash does: nothing of what it said is taken back."""
        self._process.kill()
        self._process.communicate(timeout=PATIENCE_SECS)


@pytest.fixture
def another_process() -> Iterator[Callable[..., OtherProcess]]:
    """``another_process("use", state, *paths)`` uses files; with ``"download"`` it holds the lock of one."""
    others: list[OtherProcess] = []

    def start(kind: str, state: Path, *paths: Path) -> OtherProcess:
        others.append(OtherProcess(kind, state, *paths))
        return others[-1]

    yield start
    for other in others:
        other.kill()


class Site:
    """A folder on `sys.path` where plugins are installed as pip would install them."""

    SOURCE = """
from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, hookimpl


class Mine(Engine):
    name = "{name}"
    sources = {sources!r}
    isolation = "{isolation}"

    def capabilities(self):
        return EngineCapabilities({{TaskKind.LLM: ["{name}-llm"]}})

    def run(self, job):
        return LlmResult({{
            "object": "chat.completion", "model": job.model,
            "choices": [
                {{"index": 0, "message": {{"role": "assistant", "content": "{name}"}}, "finish_reason": "stop"}}
            ],
            "usage": {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
        }})


def make():
    return Mine()


@hookimpl
def studio_worker_engines(config):
    return [Mine()]
"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, *, sources: tuple[str, ...] = (), isolation: str = "thread") -> str:
        """A plugin with one engine, both called `name`; returns its module's name."""
        module = f"installed_{name}"
        source = self.SOURCE.format(name=name, sources=sources or (name,), isolation=isolation)
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[studio_worker]\n{name} = {module}\n")
        return module


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return Site(folder)


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model with random weights, for the true llama.cpp."""
    pytest.importorskip("llama_cpp", reason="needs the package studio-worker-llama")
    from tiny_gguf import write_gguf

    return write_gguf(tmp_path_factory.mktemp("llm") / "tiny.gguf")


@pytest.fixture(scope="session")
def sdxs(pytestconfig: pytest.Config) -> Path:
    """A checkpoint with random weights, for the true stable-diffusion.cpp; large, and so kept between runs."""
    pytest.importorskip("stable_diffusion_cpp", reason="needs the package studio-worker-sdcpp")
    from sdxs_checkpoint import write_checkpoint

    folder = Path(pytestconfig.cache.mkdir("studio-worker-sdcpp"))
    with FileLock(folder / "lock"):
        if not (folder / "sdxs.gguf").exists():
            write_checkpoint(folder / "part")
            (folder / "part").rename(folder / "sdxs.gguf")
    return folder / "sdxs.gguf"


@pytest.fixture(scope="session")
def lama_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of LaMa's shape, for the true ONNX Runtime; it paints 51, 153, 204 where the mask is white."""
    pytest.importorskip("onnxruntime", reason="needs the package studio-worker-onnx")
    from lama_graph import lama

    return lama(tmp_path_factory.mktemp("lama") / "lama.onnx", out_scale=255.0)


@pytest.fixture
def environments(tmp_path: Path) -> OwnEnvironments:
    return OwnEnvironments(tmp_path / "environments-of-their-own")
