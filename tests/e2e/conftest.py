"""The worker as its users meet it: an installed command in a process of its own, and a studio that follows a script."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.testing.scripted_studio import ScriptedStudio

WAIT_SECS = 30.0

THIRD_PARTY = '''
import asyncio
import struct
import time
import zlib

from studio_worker import (
    AudioResult, BadInput, Engine, EngineCapabilities, EngineError, EngineJob, ImageResult, LlmResult, OutOfMemory,
    TaskKind, TranscriptResult, UnsupportedTask, VideoResult, hookimpl,
)


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\\0" + bytes([y % 256, 90, 40]) * width for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Painter(Engine):
    name = "painter"
    sources = ("acme-paint",)

    def capabilities(self):
        return EngineCapabilities({TaskKind.IMAGE: ["acme-paint:*"]})

    def load(self, model):
        return {"loads": 0}

    def run(self, job: EngineJob):
        job.loaded["loads"] += 1
        for step in range(1, job.task.steps + 1):
            job.check_cancelled()
            job.progress(step, job.task.steps, stage="paint")
        job.meta["loads"] = job.loaded["loads"]
        return ImageResult(data=png(job.task.width, job.task.height), ext="webp")


class Writer(Engine):
    name = "writer"
    sources = ("acme-text",)
    isolation = "loop"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["acme-text:*"]})

    async def run(self, job: EngineJob):
        said = job.task.messages[-1].content
        match said.split()[0]:
            case "sleep":
                await asyncio.sleep(float(said.split()[1]))
            case "explode":
                raise ValueError("the writer exploded")
            case "refuse":
                raise UnsupportedTask("the writer does not write that")
            case "starve":
                raise OutOfMemory("the writer needs more memory")
        return LlmResult({
            "id": job.id, "object": "chat.completion", "created": 0, "model": job.model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": said.upper()}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        })


class Sleeper(Engine):
    """Sleeps in a thread; deaf to cancellation if it is told so."""

    name = "sleeper"
    sources = ("acme-sleep",)
    isolation = "thread"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["acme-sleep:*"]})

    def run(self, job: EngineJob):
        *deaf, seconds = job.task.messages[-1].content.split()
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            if not deaf:
                job.check_cancelled()
            time.sleep(0.02)
        return LlmResult({
            "object": "chat.completion", "model": job.model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "awake"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        })


@hookimpl
def studio_worker_engines(config):
    return [Painter(), Writer(), Sleeper()]
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder on the worker's path with a third party's plugin in it, as pip would have put it there.

    The worker there finds no uvloop, as one that was installed without the extra `speed`.
    """
    folder = tmp_path / "site"
    info = folder / "studio_worker_acme-1.2.3.dist-info"
    info.mkdir(parents=True)
    (folder / "studio_worker_acme.py").write_text(THIRD_PARTY)
    (folder / "uvloop.py").write_text("raise ImportError('not installed')\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-worker-acme\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text("[studio_worker]\nacme = studio_worker_acme\n")
    return folder


class WorkerProcess:
    """`studio-worker` in a process, its output kept line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._seen = asyncio.Condition()
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.stdout)),
            asyncio.create_task(self._read(process.stderr, self.stderr)),
        ]

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for line in stream:
            lines.append(line.decode(errors="replace").rstrip())
            async with self._seen:
                self._seen.notify_all()

    async def says(self, part: str) -> str:
        """The first line of stderr that holds `part`."""

        def found() -> str | None:
            return next((line for line in self.stderr if part in line), None)

        async with asyncio.timeout(WAIT_SECS), self._seen:
            await self._seen.wait_for(lambda: found() is not None)
        return found() or ""

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def code(self) -> int:
        """Its exit status."""
        try:
            async with asyncio.timeout(WAIT_SECS):
                code = await self.process.wait()
                await asyncio.gather(*self._readers)
        except TimeoutError:
            raise AssertionError(f"it has not ended; it said:\n{self.said}") from None
        return code

    @property
    def said(self) -> str:
        return "\n".join([*self.stdout, *self.stderr])


class Machine:
    """One machine's home folder and environment, on which the command is run."""

    def __init__(self, home: Path, site: Path) -> None:
        self.home = home
        self.config_file = home / "config" / "minis-studio-worker" / "config.toml"
        self.state = home / "state" / "minis-studio-worker"
        self.models = home / "models"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "PYTHONPATH": str(site),
            "STUDIO_WORKER_MODELS_ROOT": str(self.models),
            "STUDIO_WORKER_LOCAL_API_PORT": "0",
            "STUDIO_WORKER_REGISTER_POLL_SECS": "0.05",
            "STUDIO_WORKER_RECONNECT_BASE_SECS": "0.02",
        }
        self.models.mkdir(parents=True)
        self.processes: list[WorkerProcess] = []

    def configure(self, text: str, *, mode: int = 0o600) -> None:
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(text)
        self.config_file.chmod(mode)

    async def start(self, *arguments: str, stdin: str = "", **environ: str) -> WorkerProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "studio_worker",
            *arguments,
            env=self.environ | environ,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if process.stdin is not None:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        self.processes.append(WorkerProcess(process))
        return self.processes[-1]

    async def call(self, *arguments: str, **environ: str) -> tuple[int, Any]:
        """Run a command with --json to its end: its exit status and the JSON value of its stdout."""
        process = await self.start(*arguments, "--json", **environ)
        code = await process.code()
        text = "\n".join(process.stdout)
        return code, json.loads(text) if text else None

    @property
    def credentials(self) -> dict[str, Any]:
        return json.loads((self.state / "credentials.json").read_text())


@pytest.fixture
async def machine(tmp_path: Path, site: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path / "home", site)
    yield machine
    for worker in machine.processes:
        if worker.process.returncode is None:
            worker.process.kill()
            await worker.code()


@pytest.fixture
async def studio() -> AsyncIterator[ScriptedStudio]:
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
def start_run(machine: Machine, studio: ScriptedStudio) -> Callable[..., Any]:
    """Start `studio-worker run` against the scripted studio."""

    async def start(*arguments: str, **environ: str) -> WorkerProcess:
        return await machine.start(*arguments, "run", **({"STUDIO_WORKER_API_BASE_URL": studio.url} | environ))

    return start


@pytest.fixture
async def worker(start_run: Callable[..., Any], studio: ScriptedStudio) -> WorkerProcess:
    """A worker with a welcomed session."""
    worker = await start_run()
    await studio.welcomed()
    return worker
