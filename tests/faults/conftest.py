"""A whole worker in this process: an engine that counts, a studio that follows a script, a network that spoils."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest
from loguru import logger
from PIL import Image

from studio_worker import Worker
from studio_worker.clock import SystemClock
from studio_worker.config import Config
from studio_worker.engines.base import (
    AudioResult,
    Engine,
    EngineCapabilities,
    EngineJob,
    ImageResult,
    LlmResult,
    Result,
    TranscriptResult,
    VideoResult,
)
from studio_worker.session.timings import Timings
from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits
from studio_worker.studio.timings import Timings as StudioTimings
from studio_worker.testing.claims import claim, hum, image_claim, llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.testing.toxics import ToxicProxy
from studio_worker.wire.kinds import TaskKind

from .machine import Machine
from .system_tools import lack

SOURCE = "acme"
QUICK = Timings(
    request_secs=2.0,
    upgrade_secs=5.0,
    welcome_secs=5.0,
    heartbeat_secs=0.05,
    ack_secs=8.0,
    silence_secs=10.0,
    watch_secs=0.02,
    suspend_secs=60.0,
    log_secs=0.05,
    flush_secs=0.5,
    close_secs=0.5,
    settled_secs=30.0,
)
"""The paces in hundredths of the real ones; the bounds wide enough for a machine that is busy with other tests."""

IMPATIENT = replace(QUICK, welcome_secs=0.5, ack_secs=0.4, silence_secs=0.6)
"""For tests in which a session is to die of its bounds."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs of the system what is not here."""
    for mark in item.iter_markers("needs"):
        for need in mark.args:
            if reason := lack(need):
                pytest.skip(reason)


def encoded(ext: str, width: int, height: int, job_id: str = "") -> bytes:
    """A picture of two colours, and one more for its job; as GIF a film of two frames."""
    frames = [Image.new("RGB", (width, height), colour) for colour in ((120, 80, 40), (40, 80, 120))]
    red, green, blue = hashlib.sha256(job_id.encode()).digest()[:3]
    for frame in frames:
        frame.putpixel((0, 0), (250, 250, 250))
        frame.putpixel((width - 1, 0), (red, green, blue))
    out = io.BytesIO()
    frames[0].save(out, ext, **({"save_all": True, "append_images": frames[1:]} if ext == "gif" else {}))
    return out.getvalue()


class HurriedClock(SystemClock):
    """Notes every wait that is asked for, and makes the long ones short."""

    def __init__(self, longest_secs: float = 0.05) -> None:
        self.asked: list[float] = []
        self._longest_secs = longest_secs

    async def sleep(self, secs: float) -> None:
        if secs > self._longest_secs:
            self.asked.append(secs)
        await asyncio.sleep(min(secs, self._longest_secs))


class Counting(Engine):
    """Serves every kind at once and counts its runs by job. `held` jobs wait until they are `let_go`.

    `behave` may replace what it returns; it is called with the job, and may raise.
    """

    name = "counting"
    sources = (SOURCE,)
    isolation = "loop"
    concurrency = 4

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.open.set()
        self.entered: asyncio.Queue[EngineJob] = asyncio.Queue()
        self.behave: Callable[[EngineJob], Any] = result_of

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({kind: [f"{SOURCE}-{kind.value}"] for kind in TaskKind})

    async def run(self, job: EngineJob) -> Any:
        self.runs[job.id] += 1
        self.entered.put_nowait(job)
        await self.open.wait()
        return self.behave(job)


def result_of(job: EngineJob) -> Result:
    """A small result of the job's kind."""
    match job.task.kind:
        case TaskKind.IMAGE:
            return ImageResult(encoded("png", job.task.width, job.task.height, job.id), "png")
        case TaskKind.AUDIO_TTS:
            return AudioResult(hum(), "wav")
        case TaskKind.VIDEO:
            return VideoResult(encoded("gif", job.task.width, job.task.height, job.id), "gif")
        case TaskKind.AUDIO_STT:
            return TranscriptResult({"text": "nothing", "language": "en", "duration": 0.25})
    said = {"role": "assistant", "content": f"run for {job.id}"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


def words(job_id: str, text: str = "Say hello.", **claim_fields: Any) -> dict[str, Any]:
    """A claim that the counting engine answers with JSON."""
    messages = [{"role": "user", "content": text}]
    return llm_claim(job_id, claim_fields={"engine": SOURCE} | claim_fields, messages=messages)


def picture(job_id: str, **task: Any) -> dict[str, Any]:
    """A claim that the counting engine answers with bytes."""
    return image_claim(job_id, claim_fields={"engine": SOURCE}, **task)


def ours(task: dict[str, Any], job_id: str = "job-1", **claim_fields: Any) -> dict[str, Any]:
    """A claim around any task, for the counting engine."""
    return claim(task, job_id, **{"engine": SOURCE, **claim_fields})


def job(job_id: str, kind: str) -> dict[str, Any]:
    """A line of jobs.jsonl for the counting engine."""
    task: dict[str, Any] = {"kind": "image", "prompt": job_id, "ext": "png", "width": 64, "height": 64}
    if kind == "llm":
        task = {"kind": "llm", "messages": [{"role": "user", "content": job_id}]}
    return {
        "id": job_id,
        "model": f"{SOURCE}-{kind}",
        "task": task,
        "modelSource": {"engine": SOURCE, "files": [], "cliDefaults": {}},
    }


def quick_studio(folder: Path) -> StudioServer:
    """A whole studio that notices a lost worker within moments and never gives a job up."""
    paces = StudioTimings(sweep_secs=0.1, stale_secs=2.0, offer_secs=1.0, close_secs=0.2, shutdown_secs=0.5)
    return StudioServer(folder, port=0, auto_approve=True, timings=paces, limits=Limits(max_attempts=10_000))


def port_of(studio: StudioServer) -> int:
    """Where it listens."""
    return int(studio.url.rpartition(":")[2])


@dataclass
class Site:
    """A worker at work and what stands around it."""

    worker: Worker
    studio: ScriptedStudio
    proxy: ToxicProxy
    engine: Counting
    clock: HurriedClock

    async def until(self, ready: Callable[[], Any], what: str = "") -> Any:
        """Wait for something that no frame tells."""
        async with asyncio.timeout(15):
            while not (value := ready()):
                await asyncio.sleep(0.002)
        return value

    async def settled(self, job_id: str) -> None:
        """Wait until the studio has the job's result."""
        await self.studio.until(lambda: job_id in self.studio.done, what=f"the result of {job_id}")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """For an admin who follows what happens, however long it takes."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        yield session


Start: TypeAlias = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
async def studio() -> AsyncIterator[ScriptedStudio]:
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
def engine() -> Counting:
    return Counting()


@pytest.fixture
def start(settings: Callable[..., Config], studio: ScriptedStudio, engine: Counting) -> Start:
    """``async with start(...) as site``: a worker behind a proxy; at the end it is abandoned."""

    @asynccontextmanager
    async def working(
        *,
        timings: Timings = QUICK,
        seed: int = 7,
        is_proxied: bool = True,
        engines: tuple[Any, ...] = (),
        **fields: Any,
    ) -> AsyncIterator[Site]:
        clock = HurriedClock()
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(ToxicProxy(studio.port, seed=seed))
            config = settings(
                **{
                    "api_base_url": proxy.url if is_proxied else studio.url,
                    "disabled_engines": (*settings().disabled_engines, "synthetic"),
                    "allow_private_urls": False,
                    **fields,
                }
            )
            rng = random.Random(seed)
            print(f"seed {seed}")
            worker = Worker(config, engines=[engine, *engines], clock=clock, rng=rng, timings=timings)
            async with worker:
                yield Site(worker, studio, proxy, engine, clock)
                await worker.abandon()

    return working


@pytest.fixture
async def site(start: Start) -> AsyncIterator[Site]:
    """A worker with a welcome session."""
    async with start() as site:
        await site.studio.welcomed()
        yield site


@pytest.fixture
async def machine(studio: ScriptedStudio, tmp_path: Path) -> AsyncIterator[Machine]:
    """A worker in a process of its own, with a welcome session."""
    machine = Machine(studio, tmp_path)
    try:
        await machine.start()
        yield machine
    finally:
        await machine.end()


class LogLines:
    """What the package logged."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def of(self, event: str) -> list[Any]:
        """The records of one event."""
        return [record for record in self.records if record["extra"].get("event") == event]


@pytest.fixture
def log_lines() -> Any:
    lines = LogLines()
    logger.enable("studio_worker")
    handle = logger.add(lambda message: lines.records.append(message.record), level="DEBUG", format="{message}")
    yield lines
    logger.remove(handle)
    logger.disable("studio_worker")
