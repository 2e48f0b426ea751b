"""What the tests of the jobs room share: a wire that records, an engine that waits, a clock that tests move."""

import asyncio
import io
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from studio_worker.engines.base import (
    AudioResult,
    Engine,
    EngineCapabilities,
    EngineJob,
    ImageResult,
    LlmResult,
    TranscriptResult,
    VideoResult,
)
from studio_worker.engines.devices import Devices
from studio_worker.engines.host import Host
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.router import Routes
from studio_worker.errors import LinkClosed
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.http import Fetcher
from studio_worker.jobs import spool
from studio_worker.jobs.admission import Admission
from studio_worker.jobs.jobs import Jobs
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.links import ClaimLink
from studio_worker.jobs.results import Artifact, Entry, Kept
from studio_worker.jobs.settlement import Answer
from studio_worker.models.residency import Residency
from studio_worker.models.store import Store
from studio_worker.testing.claims import hum
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.frames import Offer, read_worker_frame
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import dumps

PATIENCE_SECS = 15.0
ORIGIN = "https://studio.test"


class Changes:
    """Something that grows, and a way to wait for it without sleeping."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while not holds():
                await self._news.wait()


class Wire:
    """One connection of a studio: a `FrameSender` that records what was posted."""

    def __init__(self, *extensions: str, holds_writes: bool = False) -> None:
        self.extensions = frozenset(extensions)
        self.frames: list = []
        self.is_open = True
        self._holds = holds_writes
        self._unwritten: list[asyncio.Future[None]] = []
        self._changes = Changes()

    def post(self, frame) -> asyncio.Future[None]:
        if not self.is_open:
            raise LinkClosed("the connection is gone")
        self.frames.append(read_worker_frame(frame.text()))
        self._changes.tell()
        written = asyncio.get_running_loop().create_future()
        if self._holds:
            self._unwritten.append(written)
        else:
            written.set_result(None)
        return written

    def write(self) -> None:
        """What was posted reaches the socket."""
        for written in self._unwritten:
            if not written.done():
                written.set_result(None)

    def cut(self) -> None:
        """The connection ends; what was not written never will be."""
        self.is_open = False
        for written in self._unwritten:
            if not written.done():
                written.set_exception(LinkClosed("the connection ended"))

    @property
    def types(self) -> list[str]:
        return [frame.type for frame in self.frames]

    def of(self, kind: str, job_id: str | None = None) -> list:
        return [frame for frame in self.frames if frame.type == kind and job_id in (None, frame.job_id)]

    async def until(self, kind: str, job_id: str | None = None, count: int = 1):
        await self._changes.until(lambda: len(self.of(kind, job_id)) >= count)
        return self.of(kind, job_id)[count - 1]


class MovedClock:
    """A clock that only tests move. `sleeping` tells the sleeps that go on; `ahead` is how wrong the wall clock is."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self.ahead = timedelta()
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._changes = Changes()
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._now) + self.ahead

    async def sleep(self, secs: float) -> None:
        self.slept.append(secs)
        waker = asyncio.get_running_loop().create_future()
        entry = (self._now + secs, waker)
        self._sleepers.append(entry)
        self._changes.tell()
        try:
            await waker
        finally:
            self._sleepers.remove(entry)

    async def asleep(self, count: int = 1) -> None:
        """Return once `count` sleeps have begun, from the start of the test."""
        await self._changes.until(lambda: len(self.slept) >= count)

    def advance(self, secs: float) -> None:
        self._now += secs
        for due, waker in list(self._sleepers):
            if due <= self._now and not waker.done():
                waker.set_result(None)


def picture(width: int = 8, height: int = 8, ext: str = "PNG") -> bytes:
    """Two colours, so that it shows something; a film where a format can move."""
    frames = [Image.new("RGB", (width, height), colour) for colour in ((200, 30, 30), (30, 30, 200))]
    for frame in frames:
        frame.putpixel((0, 0), (250, 250, 250))
    out = io.BytesIO()
    frames[0].save(out, ext, **({"save_all": True, "append_images": frames[1:]} if ext == "GIF" else {}))
    return out.getvalue()


COMPLETION = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gate",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def plain_result(job: EngineJob):
    match job.task.kind:
        case TaskKind.IMAGE:
            return ImageResult(picture(job.task.width, job.task.height), "png")
        case TaskKind.LLM:
            return LlmResult(COMPLETION)
        case TaskKind.AUDIO_STT:
            return TranscriptResult({"text": "hello", "language": "en", "duration": 1.0})
        case TaskKind.AUDIO_TTS:
            return AudioResult(hum(), "wav")
        case TaskKind.VIDEO:
            return VideoResult(picture(job.task.width, job.task.height, "GIF"), "gif")


class GateEngine(Engine):
    """Serves every kind on the loop. Each run waits while `gate` is shut, then does what `behaviour` says."""

    name = "gate"
    sources = ("gate",)
    isolation = "loop"
    concurrency = 8

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.jobs: list[EngineJob] = []
        self.behaviour: Callable[[EngineJob], Awaitable[object]] | None = None
        self._changes = Changes()

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({kind: [f"gate-{kind.value}"] for kind in TaskKind})

    async def run(self, job: EngineJob):
        self.jobs.append(job)
        self._changes.tell()
        await self.gate.wait()
        return plain_result(job) if self.behaviour is None else await self.behaviour(job)

    @property
    def runs(self) -> int:
        return len(self.jobs)

    async def started(self, count: int = 1) -> EngineJob:
        await self._changes.until(lambda: self.runs >= count)
        return self.jobs[count - 1]


class Uploads:
    """Takes uploads; answers as `answers` says, then 200. A shut `gate` keeps them under way."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.answers: list[Answer] = []
        self.seen: list[Kept] = []
        self._changes = Changes()

    async def upload(self, kept: Kept, meanwhile: Callable[[], None]) -> Answer:
        self.seen.append(kept)
        meanwhile()
        answer = self.answers.pop(0) if self.answers else Answer(status=200)
        self._changes.tell()
        await self.gate.wait()
        return answer

    async def started(self, count: int = 1) -> Kept:
        await self._changes.until(lambda: len(self.seen) >= count)
        return self.seen[count - 1]


class Events:
    """Takes events, and log lines."""

    def __init__(self) -> None:
        self.events: list = []
        self.lines: list[tuple[str, str, str | None]] = []
        self._changes = Changes()

    def emit(self, event) -> None:
        self.events.append(event)
        self._changes.tell()

    def add(self, level: str, category: str, message: str, *, job_id: str | None = None) -> None:
        self.lines.append((level, message, job_id))

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    async def until_true(self, holds: Callable[[], object]) -> None:
        await self._changes.until(holds)

    async def until(self, kind: type, count: int = 1):
        await self._changes.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


@dataclass
class Room:
    """The jobs of one worker with everything that stands around them."""

    jobs: Jobs
    engine: GateEngine
    uploads: Uploads
    events: Events
    clock: MovedClock
    journal: KeptJournal
    settings: SimpleNamespace
    state_dir: Path
    signed_out: list[bool] = field(default_factory=list)

    @property
    def desk(self):
        return self.jobs.desk

    @property
    def delivery(self):
        return self.jobs.delivery

    async def no_uploads(self) -> None:
        """Return once no upload is under way."""
        await self.events.until_true(lambda: not self.delivery.uploading)

    def offer(self, wire: Wire, claim: dict) -> None:
        offer = Offer(claim=claim)
        self.desk.take(offer, ClaimLink(wire, offer.job_id, offer.attempt))


@asynccontextmanager
async def _open_room(state_dir: Path, **parts):
    engine, uploads, events, clock = GateEngine(), parts.pop("uploads", None) or Uploads(), Events(), MovedClock()
    clock = parts.pop("clock", clock)
    settings = SimpleNamespace(max_concurrent_jobs=parts.pop("max_concurrent_jobs", 1), device_of=lambda plugin: None)
    host = Host([], given=[engine, *parts.pop("engines", ())])
    await host.start()
    routes = Routes.build(host.descriptions)
    journal = KeptJournal(state_dir, ORIGIN, clock)
    signed_out: list[bool] = []
    guard = parts.pop("guard", None) or Guard(own_origin=None)
    fetcher = Fetcher(lambda: guard, user_agent="test", resolver=parts.pop("resolver", None))
    jobs = Jobs(
        settings=lambda: settings,
        routes=lambda: routes,
        host=host,
        store=parts.pop("store", None) or Store(lambda: state_dir / "models"),
        fetcher=fetcher,
        journal=journal,
        upload=uploads,
        events=events,
        logs=events,
        clock=clock,
        rng=random.Random(7),
        state_dir=state_dir,
        admission=Admission(host, Residency(dict, clock=clock), Devices()),
        quarantine=parts.pop("quarantine", None) or Quarantine(clock),
        signed_out=lambda: signed_out.append(True),
        **parts,
    )
    running = asyncio.create_task(jobs.run())
    ready = asyncio.create_task(jobs.ready())
    await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        running.result()
    try:
        yield Room(jobs, engine, uploads, events, clock, journal, settings, state_dir, signed_out)
    finally:
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            pass
        await host.aclose()
        await fetcher.aclose()


def _claim(kind: str = "llm", job_id: str = "job-1", *, task: dict | None = None, **fields) -> dict:
    """A claim for the gate engine."""
    tasks = {
        "llm": {"messages": [{"role": "user", "content": "a secret question"}]},
        "image": {"prompt": "a secret cup", "width": 8, "height": 8, "ext": "png"},
        "audio_tts": {"text": "a secret word", "ext": "wav"},
        "video": {"prompt": "a secret film", "ext": "gif"},
    }
    return {
        "jobId": job_id,
        "model": f"gate-{kind}",
        "task": {"kind": kind, **tasks.get(kind, {}), **(task or {})},
        "modelSource": {"engine": "gate", "files": [], "cliDefaults": {}},
        **fields,
    }


def _entry(job_id: str = "job-1", kind: TaskKind = TaskKind.IMAGE, **fields) -> Entry:
    defaults = {
        "fingerprint": Fingerprint(text="f"),
        "model": "m",
        "engine": "e",
        "prompt": "a cup",
        "accepted_at": 1_000.0,
    }
    return Entry(job_id=job_id, kind=kind, **defaults | fields)


def _kept_json(job_id: str = "job-1", *, json: dict | None = None, size: int = 10, **fields) -> Kept:
    json = json or COMPLETION
    artifact = Artifact(kind=TaskKind.LLM, size=size, json=json, json_text=dumps(json))
    return Kept(entry=_entry(job_id, TaskKind.LLM, **fields), artifact=artifact, kept_at=1_000.0)


def _kept_file(path: Path, job_id: str = "job-1", **fields) -> Kept:
    artifact = Artifact(kind=TaskKind.IMAGE, size=path.stat().st_size, ext="png", data=path, meta={"seed": 7})
    return Kept(entry=_entry(job_id, **fields), artifact=artifact, kept_at=1_000.0)


@pytest.fixture
def open_room():
    """Opens a `Room` in a folder, with other parts where a test names them."""
    return _open_room


@pytest.fixture
async def room(tmp_path):
    """The jobs room of one worker, running."""
    async with _open_room(tmp_path) as found:
        yield found


@pytest.fixture
async def wire():
    """A connection of a studio that knows no extension."""
    return Wire()


@pytest.fixture
def make_wire():
    """Makes a connection that lists these extensions."""
    return Wire


@pytest.fixture
def claim():
    """Makes a claim for the gate engine."""
    return _claim


@pytest.fixture
def entry():
    """Makes the entry of an accepted job."""
    return _entry


@pytest.fixture
def kept_json():
    """Makes a kept JSON result."""
    return _kept_json


@pytest.fixture
def kept_file():
    """Makes a kept binary result of a file."""
    return _kept_file


@pytest.fixture
async def clock():
    """A clock that only the test moves."""
    return MovedClock()


@pytest.fixture
def state(tmp_path):
    """A worker's state folder."""
    return tmp_path / "state"


@pytest.fixture
def life(state, clock):
    """One process's life with the journal."""

    @asynccontextmanager
    async def live(worker_id="w-1", origin=ORIGIN, **more):
        journal = KeptJournal(state, origin, clock, **more)
        try:
            await journal.open()
            journal.recalled = list(await journal.recall(worker_id))
            yield journal
        finally:
            await journal.aclose()

    return live


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that has what is written to it only when the test lets it; `error` is what it says then.

    `reached` waits until something is being written.
    """
    real, found = spool.sync_file, threading.Event()
    found.error, found.waiting = None, False

    def sync(descriptor):
        found.waiting = not found.is_set()
        assert found.wait(20)
        found.waiting = False
        if found.error is not None:
            raise found.error
        real(descriptor)

    async def reached():
        async with asyncio.timeout(10):
            while not found.waiting:
                await asyncio.sleep(0.005)

    found.begin, found.reached = lambda: monkeypatch.setattr(spool, "sync_file", sync), reached
    yield found
    found.set()


@pytest.fixture
async def uploads():
    """Takes uploads and answers as it was told."""
    return Uploads()


@pytest.fixture
async def events():
    """Takes events and log lines."""
    return Events()


@pytest.fixture
def make_picture():
    """Makes an encoded picture."""
    return picture


@pytest.fixture
def result_of():
    """The gate engine's own result of a job."""
    return plain_result
