"""How late the event loop wakes, and who is named for it."""

import asyncio
import importlib
import sys
import threading
import time

import pytest

from studio_worker import Worker
from studio_worker.clock import SystemClock
from studio_worker.loop_lag import LAG_REMEMBERED_SECS, LoopLag, culprit
from studio_worker.readiness import Readiness
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.clocks import HandClock
from studio_worker.testing.scripted_studio import ScriptedStudio

PATIENCE_SECS = 20.0


class BlockedClock(HandClock):
    """One whose sleeps are over late."""

    late = 0.0

    async def sleep(self, secs):
        await super().sleep(secs + self.late)


async def some_turns(work):
    """Let a task that sleeps by the hand clock do a few of its rounds."""
    task = asyncio.create_task(work)
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def found(lag):
    async with asyncio.timeout(PATIENCE_SECS):
        while (problem := lag.problem()) is None:
            await asyncio.sleep(0.002)
    return problem


HOOKS = """
class Hook:
    def notify(self, call):
        return self.deeper(call)

    def deeper(self, call):
        return call()

    async def awaited(self, call):
        return call()
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A hook of a module that is none of ours, in which something is called."""
    (tmp_path / "acme_hooks.py").write_text(HOOKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_hooks", raising=False)
    return importlib.import_module("acme_hooks").Hook()


async def test_a_loop_that_wakes_late_is_a_problem_for_a_while():
    clock = BlockedClock()
    lag = LoopLag(clock)
    await some_turns(lag.run())
    assert lag.problem() is None
    clock.late = 2.5
    await some_turns(lag.run())
    assert lag.problem() == Readiness("loop_lag", "something blocked the event loop for 2.5 s")
    clock.secs += LAG_REMEMBERED_SECS + 1
    assert lag.problem() is None


@pytest.fixture
async def lag():
    """A watch that is quick to see."""
    lag = LoopLag(SystemClock(), look_secs=0.05, late_secs=0.2)
    running = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    yield lag
    running.cancel()
    await asyncio.wait([running])


def block():
    time.sleep(0.6)  # the fault itself


@pytest.mark.parametrize("way", ["callback", "coroutine"])
async def test_who_blocked_the_loop_is_named_and_not_what_that_called(lag, foreign, caplines, way):
    if way == "callback":
        asyncio.get_running_loop().call_soon(foreign.notify, block)
    else:
        await asyncio.create_task(foreign.awaited(block))
    name = "notify" if way == "callback" else "awaited"
    problem = await found(lag)
    assert problem.detail.startswith(f"acme_hooks.Hook.{name} (acme_hooks.py, line ")
    assert " blocked the event loop for 0." in problem.detail
    (line,) = [each for each in caplines if each["event"] == "worker.loop_lag"]
    assert problem.detail.startswith(line["culprit"])


async def test_who_blocked_before_is_not_named_for_the_next(lag, foreign):
    asyncio.get_running_loop().call_soon(foreign.notify, block)
    assert "acme" in (await found(lag)).detail
    block()
    await asyncio.sleep(0.1)
    assert "acme" not in lag.problem().detail
    assert "test_who_blocked_before" in lag.problem().detail


async def test_a_loop_that_only_waits_is_blocked_by_nobody():
    """On a machine that is too busy the loop wakes late, and nothing of this process has kept it."""
    loops_thread = threading.get_ident()

    def look():
        while (frame := sys._current_frames()[loops_thread]).f_globals["__name__"] != "selectors":
            time.sleep(0.001)
        return culprit(frame)

    assert await asyncio.to_thread(look) == ""


async def test_what_blocks_inside_our_own_code_is_named_by_its_innermost_call():
    frames = []

    class Clock(HandClock):
        def monotonic(self):
            frames.append(sys._getframe())
            return super().monotonic()

    lag = LoopLag(Clock())
    await some_turns(lag.run())
    assert culprit(frames[0].f_back).startswith("studio_worker.loop_lag.LoopLag.run (loop_lag.py, line ")


def test_nothing_of_a_thread_that_is_gone_is_named():
    assert culprit(None) == ""


async def test_the_thread_that_looks_on_ends_with_the_watch(leaves_nothing):
    with leaves_nothing():
        lag = LoopLag(SystemClock())
        running = asyncio.create_task(lag.run())
        await asyncio.sleep(0)
        assert [thread.name for thread in threading.enumerate()].count("loop-lag") == 1
        running.cancel()
        await asyncio.wait([running])


async def test_an_engine_that_blocks_the_loop_is_named_to_the_studio(settings, gate):
    gate.opened.set()
    gate.behave = lambda job: (time.sleep(2.4), gate.complete(job))[1]  # the fault itself
    async with ScriptedStudio() as studio:
        studio.extensions = ("health",)
        async with Worker(settings(api_base_url=studio.url), engines=[gate]) as worker:
            await studio.welcomed()
            await studio.offer(llm_claim("job-1", claim_fields={"engine": "gate", "model": "gate-llm"}))
            async with asyncio.timeout(PATIENCE_SECS):
                while worker.readiness().code != "loop_lag":
                    await asyncio.sleep(0.005)
            detail = worker.readiness().detail
            health = {"ready": False, "code": "loop_lag", "detail": detail}
            worker.resume()
            await studio.heartbeat(health=health)
    assert "Gate.run (conftest.py, line " in detail
