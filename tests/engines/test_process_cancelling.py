"""Cancelling jobs in an engine's process, giving them up, and closing the host over them."""

import asyncio
import os
import time

import psutil
import pytest

from studio_worker.errors import EngineError, JobCancelled

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""

SLACK_SECS = 4.0
"""What a machine that runs many tests at once may add."""

OBEDIENT = """
def run(self, job):
    if words(job) == "hello":
        return say(pid=os.getpid())
    Path(words(job)).touch()
    while True:
        job.check_cancelled()
        time.sleep(0.002)
"""

DEAF = {
    "sleeps": "time.sleep(600)",
    "holds Python's lock": "ctypes.PyDLL(None).sleep(600)",
    "is deaf to signals": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); time.sleep(600)",
    "swallows its cancellation": "swallow(job)",
}

MODULE = """
def swallow(job):
    while True:
        try:
            job.check_cancelled()
        except BaseException:
            pass
"""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def deaf(action: str) -> str:
    return f"""
def run(self, job):
    if words(job) == "hello":
        return say(pid=os.getpid())
    Path(words(job)).touch()
    {action}
"""


@pytest.fixture
def begun(workshop, tmp_path, until):
    """Start a job and wait until its engine is at work: the call and the task that awaits it."""
    count = 0

    async def begin(host):
        nonlocal count
        count += 1
        mark = tmp_path / f"started-{count}"
        call = workshop.call(host, str(mark))
        task = asyncio.create_task(host.run(call))
        await until(mark.exists)
        return call, task

    return begin


async def cancel(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(task)


async def test_a_cancelled_job_is_asked_to_stop_and_its_process_goes_on(workshop, begun):
    host = workshop.host(OBEDIENT)
    pid = await workshop.pid(host)
    call, task = await begun(host)
    await cancel(task)
    await within(host.settled(call.job_id))
    assert await workshop.pid(host) == pid
    assert workshop.deaths == []


async def test_a_cancelled_call_returns_at_once_and_settles_when_the_engine_has_let_go(workshop, begun, tmp_path):
    release = tmp_path / "release"
    host = workshop.host(deaf(f"while not Path({str(release)!r}).exists(): time.sleep(0.002)\n    return say()"))
    call, task = await begun(host)
    await cancel(task)
    settling = asyncio.create_task(host.settled(call.job_id))
    await asyncio.sleep(0)
    assert not settling.done()
    release.touch()
    await within(settling)


@pytest.mark.parametrize("how", DEAF)
async def test_after_the_grace_the_process_is_ended_of_an_engine_that(how, workshop, begun):
    host = workshop.host(deaf(DEAF[how]), module=MODULE, cancel_grace_secs=0.05)
    pid = await workshop.pid(host)
    call, task = await begun(host)
    await cancel(task)
    cancelled = time.monotonic()
    await within(host.settled(call.job_id))
    assert time.monotonic() - cancelled < 2.0 + SLACK_SECS
    assert not is_alive(pid)
    assert await workshop.pid(host) != pid
    # The operator wanted an end; that says nothing against the engine.
    assert workshop.deaths == []


async def test_the_right_one_of_two_jobs_in_a_process_stops(workshop, begun):
    host = workshop.host(OBEDIENT, concurrency=2)
    (one, first), (_, second) = await begun(host), await begun(host)
    await cancel(first)
    await within(host.settled(one.job_id))
    assert not second.done()
    await cancel(second)


async def test_a_job_beside_one_that_is_deaf_can_be_tried_again(workshop, begun):
    host = workshop.host(deaf("time.sleep(600)"), concurrency=2, cancel_grace_secs=0.05)
    (_, first), (_, second) = await begun(host), await begun(host)
    await cancel(first)
    with pytest.raises(EngineError, match="a cancelled job did not stop when it was asked to") as caught:
        await within(second)
    assert caught.value.retryable


async def test_a_job_that_is_cancelled_while_it_waits_for_its_turn_never_runs(workshop, begun, tmp_path):
    host = workshop.host(OBEDIENT)
    _, running = await begun(host)
    mark = tmp_path / "never"
    waiting = asyncio.create_task(host.run(call := workshop.call(host, str(mark))))
    await asyncio.sleep(0)
    await cancel(waiting)
    await within(host.settled(call.job_id))
    await cancel(running)
    assert (await workshop.run(host))["pid"] != os.getpid()
    assert not mark.exists()


async def test_a_job_that_is_cancelled_while_its_process_starts_never_runs(workshop, tmp_path):
    mark = tmp_path / "never"
    host = workshop.host(OBEDIENT)
    task = asyncio.create_task(host.run(call := workshop.call(host, str(mark))))
    await asyncio.sleep(0)
    await cancel(task)
    await within(host.settled(call.job_id))
    assert (await workshop.run(host))["pid"] != os.getpid()
    assert not mark.exists()


async def test_cancelling_is_not_held_up_by_an_engine_that_floods_log_and_output(workshop, begun):
    flood = "while not job.cancelled: job.log.info('x' * 3_000); os.write(1, bytes(60_000)); job.progress(1, 2)"
    host = workshop.host(deaf(f"{flood}\n    job.check_cancelled()"))
    pid = await workshop.pid(host)
    call, task = await begun(host)
    await cancel(task)
    await within(host.settled(call.job_id))
    assert await workshop.pid(host) == pid


async def test_what_an_engine_says_after_its_cancellation_is_ignored(workshop, begun, tmp_path):
    said = tmp_path / "said"
    after = (
        "while not job.cancelled: time.sleep(0.002)\n"
        f"    job.progress(2, 2)\n    Path({str(said)!r}).touch()\n    return say()"
    )
    host = workshop.host(deaf(after))
    call, task = await begun(host)
    await cancel(task)
    await within(host.settled(call.job_id))
    assert said.exists()
    assert workshop.bench.progress == []


# giving a job up


@pytest.mark.parametrize("how", DEAF)
async def test_a_job_that_is_given_up_fails_at_once_and_ends_the_process_of_an_engine_that(how, workshop, begun):
    host = workshop.host(deaf(DEAF[how]), module=MODULE, cancel_grace_secs=0.05)
    pid = await workshop.pid(host)
    call, task = await begun(host)
    assert host.end_job(call.job_id, "no step for 60 s")
    with pytest.raises(EngineError, match="engine 'toy' was given up: no step for 60 s") as caught:
        await within(task)
    assert caught.value.retryable
    await within(host.settled(call.job_id))
    assert not is_alive(pid)
    assert workshop.deaths == [(host.descriptions[0].key, "toy", "it hung (no step for 60 s)")]
    assert await workshop.pid(host) != pid


async def test_an_engine_that_stops_when_its_job_is_given_up_keeps_its_process(workshop, begun):
    host = workshop.host(OBEDIENT)
    pid = await workshop.pid(host)
    call, task = await begun(host)
    host.end_job(call.job_id, "too slow")
    with pytest.raises(EngineError):
        await within(task)
    await within(host.settled(call.job_id))
    assert await workshop.pid(host) == pid
    assert workshop.deaths == []


async def test_a_job_that_does_not_run_cannot_be_given_up(workshop):
    assert not workshop.host().end_job("unknown", "too slow")


async def test_a_job_in_a_thread_is_given_up_without_its_thread(bench, toy, answer):
    import threading

    started, release = threading.Event(), threading.Event()

    def run(job):
        started.set()
        release.wait(WAIT_SECS)
        return answer

    host = bench.host(toy(run))
    call = bench.call(host)
    task = asyncio.create_task(host.run(call))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    assert host.end_job(call.job_id, "too slow")
    with pytest.raises(EngineError, match="was given up: too slow"):
        await within(task)
    release.set()
    await within(host.settled(call.job_id))


async def test_a_job_on_the_loop_is_given_up_where_it_waits(bench, toy):
    async def run(job):
        await asyncio.Event().wait()

    host = bench.host(toy(run))
    call = bench.call(host)
    task = asyncio.create_task(host.run(call))
    await asyncio.sleep(0.01)
    assert host.end_job(call.job_id, "too slow")
    with pytest.raises(EngineError, match="was given up: too slow"):
        await within(task)


# the end


async def test_closing_asks_the_jobs_at_work_to_stop(workshop, begun):
    host = workshop.host(OBEDIENT)
    pid = await workshop.pid(host)
    _, task = await begun(host)
    await within(host.aclose())
    with pytest.raises(JobCancelled):
        await within(task)
    assert not is_alive(pid)


async def test_closing_ends_a_process_that_does_not_stop(workshop, begun, monkeypatch):
    monkeypatch.setattr("studio_worker.engines.host.CLOSE_GRACE_SECS", 0.05)
    host = workshop.host(deaf("time.sleep(600)"))
    pid = await workshop.pid(host)
    _, task = await begun(host)
    await within(host.aclose())
    with pytest.raises(EngineError):
        await within(task)
    assert not is_alive(pid)
    assert workshop.deaths == []


async def test_a_host_that_closes_while_a_process_starts_leaves_none(workshop):
    host = workshop.host()
    task = asyncio.create_task(workshop.run(host))
    await asyncio.sleep(0.005)
    await within(host.aclose())
    with pytest.raises((EngineError, JobCancelled)):
        await within(task)
    assert not [child for child in psutil.Process().children() if "engines.child" in " ".join(child.cmdline())]
