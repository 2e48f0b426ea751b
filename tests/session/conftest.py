"""A scripted studio, a keeper around two recording doubles, and timings that make minutes out of milliseconds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from loguru import logger

from studio_worker.clock import SystemClock
from studio_worker.events import Event
from studio_worker.jobs.links import Link
from studio_worker.session.keeper import SessionKeeper
from studio_worker.session.log_shipping import LogShipper
from studio_worker.session.studio_http import open_http
from studio_worker.session.timings import Timings
from studio_worker.state import Credentials
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import Offer
from studio_worker.wire.urls import StudioUrls

QUICK = Timings(
    request_secs=2.0,
    upgrade_secs=5.0,
    welcome_secs=5.0,
    heartbeat_secs=0.05,
    ack_secs=5.0,
    silence_secs=6.0,
    watch_secs=0.02,
    suspend_secs=20.0,
    log_secs=0.02,
    flush_secs=0.5,
    close_secs=0.5,
    settled_secs=30.0,
)
"""The paces in hundredths of the real ones; the bounds wide enough for a machine that is busy with other tests."""

IMPATIENT = replace(QUICK, welcome_secs=0.3, ack_secs=0.3, silence_secs=0.4)
"""For tests in which a session is to die of its bounds."""


@dataclass
class RecordingDesk:
    """Stands where the desk stands and accepts every offer, so that a session can be tried alone."""

    is_paused: bool = False
    current_job_id: str | None = None
    current_job_ids: tuple[str, ...] = ()
    offers: list[Offer] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    on_take: Callable[[Offer, Link], None] = lambda offer, link: link.accept()

    def take(self, offer: Offer, link: Link) -> None:
        self.offers.append(offer)
        self.links.append(link)
        self.on_take(offer, link)

    def cancel(self, job_id: str, reason: str) -> bool:
        self.cancelled.append((job_id, reason))
        return True


@dataclass
class RecordingDelivery:
    """Notes acknowledgements, welcomes, and how many sessions are over."""

    acknowledged: list[str] = field(default_factory=list)
    welcomes: int = 0
    ends: int = 0

    def acknowledge(self, job_id: str) -> None:
        self.acknowledged.append(job_id)

    def resume(self) -> None:
        self.welcomes += 1

    def suspend(self) -> None:
        self.ends += 1


@dataclass
class RecordingEvents:
    """Keeps every event."""

    seen: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.seen.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]


@dataclass
class LogLines:
    """What the package logged: (level, event, record)."""

    records: list[Any] = field(default_factory=list)

    def of(self, event: str) -> list[Any]:
        return [record for record in self.records if record["extra"].get("event") == event]

    def text(self) -> str:
        return "\n".join(f"{record['message']} {record['extra']}" for record in self.records)


@pytest.fixture
def log_lines() -> Any:
    lines = LogLines()
    logger.enable("studio_worker")
    handle = logger.add(lambda message: lines.records.append(message.record), level="DEBUG", format="{message}")
    yield lines
    logger.remove(handle)
    logger.disable("studio_worker")


@pytest.fixture
async def studio() -> AsyncIterator[ScriptedStudio]:
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
async def http(studio: ScriptedStudio) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_http(StudioUrls.parse(studio.url)) as http:
        yield http


@dataclass
class Kept:
    """A keeper at work, and what stands around it."""

    keeper: SessionKeeper
    desk: RecordingDesk
    delivery: RecordingDelivery
    events: RecordingEvents
    logs: LogShipper
    task: asyncio.Task[None]

    async def outcome(self) -> BaseException | None:
        """Wait for the keeper's end; the error that it ended with."""
        async with asyncio.timeout(10):
            await asyncio.wait((self.task,))
        return self.task.exception()


@asynccontextmanager
async def keeping(
    studio: ScriptedStudio,
    *,
    url: str | None = None,
    timings: Timings = QUICK,
    base_secs: float = 0.01,
    capabilities: Callable[[], Capabilities] = Capabilities,
    token: str | None = None,
    **options: Any,
) -> AsyncIterator[Kept]:
    """A keeper against the studio (or the proxy at `url`), closed at the end."""
    urls = StudioUrls.parse(url or studio.url)
    clock = options.pop("clock", SystemClock())
    desk, delivery, events = RecordingDesk(), RecordingDelivery(), RecordingEvents()
    logs = LogShipper(clock, lambda: (studio.token,))
    credentials = Credentials(urls.origin, worker_id=studio.worker_id, auth_token=token or studio.token)
    async with open_http(urls, tls=options.pop("tls", None)) as http:
        keeper = SessionKeeper(
            urls=urls,
            credentials=lambda: credentials,
            http=http,
            desk=desk,
            delivery=delivery,
            capabilities=capabilities,
            logs=logs,
            events=events,
            clock=clock,
            rng=random.Random(7),
            timings=timings,
            reconnect_base_secs=base_secs,
            elapsed_clock=options.pop("elapsed_clock", time.monotonic),
            **options,
        )
        task = asyncio.create_task(keeper.run())
        kept = Kept(keeper, desk, delivery, events, logs, task)
        try:
            yield kept
        finally:
            await keeper.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
