"""How the runtime of a worker are opened, stopped and, where one of them fails, closed again."""

from __future__ import annotations

import asyncio
from random import Random

import aiohttp
import pytest

from studio_worker.clock import SystemClock
from studio_worker.engines.host import Host
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.route_book import RouteBook
from studio_worker.errors import ConfigError, WorkerDeleted
from studio_worker.event_bus import EventBus
from studio_worker.jobs.admission import Admission
from studio_worker.models.residency import Residency
from studio_worker.runtime import Runtime, _within
from studio_worker.session.log_shipping import LogShipper
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.capabilities import Capabilities


@pytest.fixture
def runtime(settings):
    """Makes a runtime of given settings."""

    def make(host: Host | None = None, **fields: object) -> Runtime:
        config = settings(**fields)
        clock = SystemClock()
        host = host or Host(())
        return Runtime(
            config=lambda: config,
            routes=RouteBook(Quarantine(clock), clock),
            host=host,
            admission=Admission(host, Residency(dict, clock=clock), dict),
            capabilities=Capabilities,
            logs=LogShipper(clock, tuple),
            events=EventBus(),
            announce=lambda _: None,
            clock=clock,
            rng=Random(1),
        )

    return make


async def test_without_a_studio_there_is_no_registrar_and_no_session(runtime):
    async with runtime() as opened:
        assert (opened.registrar, opened.keeper) == (None, None)
        assert opened.credentials.worker_id is None
        assert opened.secrets() == (None, None)


async def test_with_a_studio_the_secrets_are_those_of_the_registration(runtime):
    async with ScriptedStudio() as studio, runtime(api_base_url=studio.url) as opened:
        await studio.welcomed()
        assert studio.token in opened.secrets()


async def test_the_secrets_of_plugins_are_among_them(runtime):
    async with runtime(plugins={"hog": {"api-key": "canary-0123456789", "device": "cpu"}}) as opened:
        assert opened.secrets() == (None, None, "canary-0123456789")


async def test_pausing_tells_the_studio_at_once(runtime):
    async with ScriptedStudio() as studio, runtime(api_base_url=studio.url) as opened:
        await studio.welcomed()
        beats = len(studio.of_type("heartbeat"))
        opened.pause()
        opened.resume()
        await studio.frame("heartbeat", nth=beats + 1)
        assert not opened.jobs.desk.is_paused


async def test_the_error_of_a_task_ends_the_block_as_a_task_group_does(runtime):
    async def end() -> None:
        raise WorkerDeleted("gone")

    async def live() -> None:
        async with runtime() as opened:
            opened.spawn(end(), name="end")
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    with pytest.raises(BaseExceptionGroup) as caught:
        await live()
    assert caught.group_contains(WorkerDeleted)
    assert asyncio.all_tasks() == before


async def test_tasks_end_with_the_block(runtime):
    ended = asyncio.Event()

    async def live() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with runtime() as opened:
        opened.spawn(live(), name="live")
        await asyncio.sleep(0)
    assert ended.is_set()


class BrokenHost(Host):
    """A host that cannot start."""

    async def start(self) -> None:
        raise OSError("no threads left")


async def test_what_is_asked_for_after_the_end_is_not_begun(runtime):
    async with runtime() as running:
        pass
    begun = []

    async def work():
        begun.append(1)

    running.spawn(work(), name="late")
    assert begun == []


async def test_tasks_that_have_ended_are_forgotten(runtime):
    async with runtime() as running:
        before = len(running._tasks)

        async def work():
            return

        for _ in range(10):
            running.spawn(work(), name="short")
        async with asyncio.timeout(20):
            while len(running._tasks) > before:
                await asyncio.sleep(0)


async def test_a_start_that_fails_in_its_middle_closes_what_was_open(runtime, monkeypatch):
    opened: list[aiohttp.ClientSession] = []
    begin = aiohttp.ClientSession.__init__

    def note(session, *arguments, **options):
        begin(session, *arguments, **options)
        opened.append(session)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", note)
    with pytest.raises(OSError, match="no threads left"):
        async with runtime(BrokenHost(())):
            pytest.fail("started")
    assert opened
    assert all(session.closed for session in opened)


async def test_a_spool_that_cannot_be_made_ends_the_start_with_its_error_and_no_cancellation(runtime, settings):
    folder = settings().state_path
    folder.mkdir(parents=True)
    (folder / "spool").write_text("in the way")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with runtime(api_base_url="http://127.0.0.1:9/"):
            pytest.fail("started")
    assert caught.group_contains(ConfigError, match="spool|state folder")
    assert asyncio.current_task().cancelling() == 0


async def test_winding_down_an_idle_worker_takes_no_time(runtime):
    async with runtime() as opened, asyncio.timeout(5):
        await opened.wind_down(asyncio.Event(), drain_secs=600, abandon_secs=600)
        assert opened.jobs.desk.is_closed


async def test_the_ports_that_jobs_must_not_reach_are_asked_for_each_url(runtime):
    async with runtime() as opened:
        before = opened._guard().closed
        opened.closed_ports |= {("127.0.0.1", 4787)}
        assert (before, opened._guard().closed) == (frozenset(), {("127.0.0.1", 4787)})


async def test_a_bounded_wait_says_whether_the_work_was_done():
    async def fine() -> None:
        return

    assert await _within(5, fine())


async def test_a_bounded_wait_hands_on_what_the_work_raises():
    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await _within(5, broken())


async def test_a_bounded_wait_cancels_what_takes_too_long_or_is_called_off():
    cancelled: list[str] = []

    async def long(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    off = asyncio.Event()
    off.set()
    assert not await _within(0.001, long("late"))
    assert not await _within(600, long("off"), off)
    assert cancelled == ["late", "off"]


async def test_a_bounded_wait_that_is_cancelled_leaves_no_task():
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(_within(600, asyncio.sleep(600), asyncio.Event()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert asyncio.all_tasks() == before
