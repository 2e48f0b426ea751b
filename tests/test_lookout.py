"""Looks at what may never answer."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import studio_worker
from studio_worker.lookout import Lookout

WAIT_SECS = 20.0


async def test_a_look_gives_what_the_call_does():
    assert await Lookout("test").look(lambda: 3) == 3


@pytest.mark.parametrize("error", [ValueError("x"), OSError(5, "gone")])
async def test_a_look_raises_what_the_call_does_and_the_next_one_works(error):
    def call():
        raise error

    lookout = Lookout("test")
    with pytest.raises(type(error)) as caught:
        await lookout.look(call)
    assert caught.value is error
    assert await lookout.look(lambda: 3) == 3


async def test_looks_come_one_after_another():
    lookout, at_work, most = Lookout("test"), 0, 0

    def call():
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        threading.Event().wait(0.005)
        at_work -= 1

    await asyncio.gather(*(lookout.look(call) for _ in range(8)))
    assert most == 1


async def test_however_many_ask_a_look_that_hangs_costs_one_thread_and_the_others_time_out():
    lookout, answers = Lookout("hangs"), threading.Event()
    for _ in range(60):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await lookout.look(lambda: answers.wait(WAIT_SECS))
    assert [thread.name for thread in threading.enumerate()].count("hangs") == 1
    # Meanwhile the loop's own pool is free.
    assert await asyncio.wait_for(asyncio.to_thread(int), WAIT_SECS) == 0
    answers.set()
    assert await asyncio.wait_for(lookout.look(lambda: 3), WAIT_SECS) == 3


async def test_a_look_that_fails_after_its_caller_has_gone_is_no_ones_error(caplog):
    lookout, answers = Lookout("test"), threading.Event()

    def call():
        answers.wait(WAIT_SECS)
        raise OSError(5, "gone")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await lookout.look(call)
    waiting = asyncio.create_task(lookout.look(lambda: 3))
    answers.set()
    assert await asyncio.wait_for(waiting, WAIT_SECS) == 3
    assert caplog.records == []


def test_a_look_that_hangs_holds_no_process():
    code = (
        "import asyncio, threading\n"
        "from studio_worker.lookout import Lookout\n"
        "async def main():\n"
        "    for _ in range(2):\n"
        "        try:\n"
        "            async with asyncio.timeout(0.05): await Lookout('x').look(threading.Event().wait)\n"
        "        except TimeoutError: pass\n"
        "asyncio.run(main())\n"
    )
    home = Path(studio_worker.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_thread_that_cannot_be_started_costs_one_look(monkeypatch):
    lookout = Lookout("test")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(TimeoutError, match="can't start new thread"):
            await lookout.look(lambda: 1)
    async with asyncio.timeout(WAIT_SECS):
        assert await lookout.look(lambda: 2) == 2


def _no_thread(thread):
    raise RuntimeError("can't start new thread")
