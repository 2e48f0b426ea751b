"""When an engine's process goes, and what is left of it: nothing."""

import asyncio
import os
import signal

import psutil
import pytest

from studio_worker.engines.base import LlmResult
from studio_worker.errors import EngineError
from studio_worker.models.files import ModelFiles

from .processes import is_running

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


async def test_a_process_without_jobs_ends_after_a_while_and_comes_again(workshop, until):
    host = workshop.host(engine_idle_secs=0.05)
    pid = await workshop.pid(host)
    await until(lambda: not psutil.pid_exists(pid))
    assert await workshop.pid(host) != pid
    assert workshop.deaths == []


async def test_a_process_at_work_is_not_idle(workshop):
    host = workshop.host(
        "def run(self, job):\n    time.sleep(0.3)\n    return say(pid=os.getpid())",
        engine_idle_secs=0.01,
        concurrency=2,
    )
    seen = await asyncio.gather(workshop.run(host), workshop.run(host))
    assert seen[0]["pid"] == seen[1]["pid"]


SLOW = """
    def run(self, job):
        time.sleep(1.0 if words(job) == "slow" else 0)
        return say(pid=os.getpid())

    def estimate(self, model):
        return Estimate(ram_bytes=1)
"""


async def test_a_job_that_comes_before_the_time_is_up_takes_as_long_as_it_takes(workshop):
    host = workshop.host(SLOW, engine_idle_secs=0.5)
    first = await workshop.run(host)
    second = await workshop.run(host, "slow")
    assert second == first


async def test_a_question_before_a_job_does_not_limit_it(workshop, tmp_path, model_files):
    host = workshop.host(SLOW, engine_idle_secs=0.5)
    model = model_files(tmp_path, "m.bin")
    assert await within(host.estimate(workshop.call(host).route, model))
    await workshop.run(host, "slow", model=model)
    assert workshop.deaths == []


async def test_an_engine_unloads_before_its_idle_process_ends(workshop, tmp_path, model_files, until):
    mark = tmp_path / "unloaded"
    host = workshop.host(
        f"def load(self, model): return 5\n\ndef unload(self, loaded): Path({str(mark)!r}).write_text(str(loaded))",
        engine_idle_secs=0.05,
    )
    await workshop.run(host, model=model_files(tmp_path, "m.bin"))
    await until(mark.exists)
    assert mark.read_text() == "5"


async def test_unloading_ends_a_process_without_jobs_with_all_that_it_started(workshop):
    body = """
        def run(self, job):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            return say(pids=[os.getpid(), child.pid])
    """
    host = workshop.host(body)
    pids = (await workshop.run(host))["pids"]
    assert await within(host.unload(host.descriptions[0].key))
    assert [pid for pid in pids if is_running(pid)] == []
    assert workshop.deaths == []


async def test_unloading_leaves_a_process_at_work_alone(workshop, tmp_path, until):
    started, release = tmp_path / "started", tmp_path / "release"
    host = workshop.host(
        f"""
        def run(self, job):
            Path({str(started)!r}).touch()
            while not Path({str(release)!r}).exists(): time.sleep(0.002)
            return say()
        """
    )
    running = asyncio.create_task(workshop.run(host))
    await until(started.exists)
    assert not await within(host.unload(host.descriptions[0].key))
    release.touch()
    await within(running)


async def test_stopping_ends_a_process_at_work_and_its_job_can_be_tried_again(workshop, tmp_path, until):
    started = tmp_path / "started"
    host = workshop.host(f"def run(self, job): Path({str(started)!r}).touch(); time.sleep(600)")
    running = asyncio.create_task(workshop.run(host))
    await until(started.exists)
    assert await within(host.stop(host.descriptions[0].key))
    with pytest.raises(EngineError, match="it was stopped to free its memory") as caught:
        await within(running)
    assert caught.value.retryable
    assert workshop.deaths == []


async def test_an_engine_that_never_ran_holds_nothing(workshop):
    host = workshop.host()
    key = host.descriptions[0].key
    assert await within(host.unload(key))
    assert await within(host.stop(key))


async def test_a_host_that_is_closed_leaves_no_process(workshop):
    host = workshop.host()
    pid = await workshop.pid(host)
    await within(host.aclose())
    assert not psutil.pid_exists(pid)
    assert workshop.deaths == []
    assert await host.estimate(workshop.call(host).route, ModelFiles("m")) is None


async def test_a_child_started_from_a_thread_that_ends_lives_on(workshop):
    """The trap of PR_SET_PDEATHSIG: it follows the thread that started the child."""

    def in_a_thread() -> list[int]:
        async def twice() -> list[int]:
            host = workshop.host()
            await host.start()
            pid = await workshop.pid(host)
            waiting = asyncio.to_thread(psutil.Process(pid).is_running)
            assert await waiting
            found = [pid, await workshop.pid(host)]
            await host.aclose()
            return found

        return asyncio.run(twice())

    one, two = await asyncio.to_thread(in_a_thread)
    assert one == two


async def test_a_loop_that_ends_without_a_word_leaves_no_process(workshop, until):
    async def begin() -> int:
        return await workshop.pid(workshop.host())

    pid = await asyncio.to_thread(asyncio.run, begin())
    workshop.bench.hosts.clear()
    await until(lambda: not is_running(pid))


async def test_the_answer_of_a_job_is_an_llm_result(workshop):
    host = workshop.host()
    assert isinstance((await within(host.run(workshop.call(host)))).result, LlmResult)


# whoever counts the memory


async def test_every_end_of_a_process_is_told_once_it_is_gone(workshop, until):
    gone = []
    host = workshop.host(
        "def run(self, job): return say(pid=os.getpid()) if words(job) == 'hello' else os._exit(3)",
        on_gone=lambda *told: gone.append(told),
    )
    told = (host.descriptions[0].key, None)
    await workshop.pid(host)
    assert await within(host.unload(told[0]))
    assert gone == [told]
    with pytest.raises(EngineError):
        await workshop.run(host, "die")
    await until(lambda: len(gone) == 2)
    await workshop.pid(host)
    await within(host.stop(told[0]))
    assert gone == [told] * 3


async def test_the_end_of_an_idle_process_is_told_and_it_is_gone_by_then(workshop, until):
    gone = []
    host = workshop.host(engine_idle_secs=0.05, on_gone=lambda *told: gone.append(psutil.pid_exists(pids[0])))
    pids = [await workshop.pid(host)]
    await until(lambda: gone)
    assert gone == [False]


DETACHED = """
    def run(self, job):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        return say(pids=[os.getpid(), child.pid])
"""


async def test_what_an_engine_started_in_a_session_of_its_own_ends_with_its_process(workshop, until):
    host = workshop.host(DETACHED)
    pids = (await workshop.run(host))["pids"]
    assert os.getsid(pids[1]) == pids[1]
    assert await within(host.unload(host.descriptions[0].key))
    assert [pid for pid in pids if is_running(pid)] == []


async def test_what_an_engine_started_in_a_session_of_its_own_ends_with_a_killed_process_too(workshop, until):
    host = workshop.host(DETACHED)
    engine, detached = (await workshop.run(host))["pids"]
    os.kill(engine, signal.SIGKILL)
    await until(lambda: not is_running(detached))
