"""Ending jobs, and the host itself, before they are done."""

import asyncio
import threading
import time

import pytest

from studio_worker.errors import BadInput, EngineError, JobCancelled, UnsupportedTask

from .runs import WAIT_SECS, in_thread, within


async def fails(bench, engine, **options) -> EngineError:
    host = bench.host(engine)
    with pytest.raises((EngineError, UnsupportedTask, BadInput, JobCancelled)) as caught:
        await within(host.run(bench.call(host, engine.name, **options)))
    return caught.value


# cancelling


async def cancel_started(bench, host, started: threading.Event, name="toy"):
    """A call that is cancelled once its engine is at work; the call, when it has returned."""
    call = bench.call(host, name)
    task = asyncio.create_task(host.run(call))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(task)
    return call


async def test_a_cancelled_thread_job_is_asked_to_stop_and_returns_at_once(bench, toy):
    started, release, asked = threading.Event(), threading.Event(), []

    def run(job):
        started.set()
        release.wait(WAIT_SECS)
        asked.append(job.cancelled)
        job.check_cancelled()

    host = bench.host(toy(run))
    call = await cancel_started(bench, host, started)
    assert asked == []
    settling = asyncio.create_task(host.settled(call.job_id))
    await asyncio.sleep(0)
    assert not settling.done()
    release.set()
    await within(settling)
    assert asked == [True]


async def test_a_job_that_ended_well_has_settled(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    call = bench.call(host)
    await within(host.run(call))
    await within(host.settled(call.job_id))
    await within(host.settled("never-heard-of"))


async def test_a_job_that_is_cancelled_while_it_waits_for_a_thread_never_runs(bench, toy, answer):
    started, release, ran = threading.Event(), threading.Event(), []

    def run(job):
        ran.append(job.id)
        started.set()
        release.wait(WAIT_SECS)
        return answer

    host = bench.host(toy(run))
    first = bench.call(host)
    running = asyncio.create_task(host.run(first))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    second = bench.call(host)
    waiting = asyncio.create_task(host.run(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(waiting)
    await within(host.settled(second.job_id))
    release.set()
    await within(running)
    assert ran == [first.job_id]


async def test_the_thread_of_a_cancelled_job_takes_the_next_job_when_it_is_done(bench, toy, answer):
    started, release = threading.Event(), threading.Event()

    def run(job):
        started.set()
        release.wait(WAIT_SECS)
        return answer

    host = bench.host(toy(run))
    await cancel_started(bench, host, started)
    release.set()
    assert (await within(host.run(bench.call(host)))).result == answer


async def test_a_cancelled_loop_job_is_cancelled_where_it_waits(bench, toy):
    started, ended = threading.Event(), []

    async def run(job):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    host = bench.host(toy(run))
    call = await cancel_started(bench, host, started)
    assert ended == [True]
    await within(host.settled(call.job_id))


async def test_a_loop_engine_cannot_swallow_a_cancellation(bench, toy, answer):
    started = threading.Event()

    async def run(job):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return answer

    host = bench.host(toy(run))
    await cancel_started(bench, host, started)


async def test_an_engines_deadline_of_its_own_is_a_failure_and_no_cancellation(bench, toy):
    async def run(job):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    assert type(await fails(bench, toy(run))) is EngineError


# the end


async def test_a_closed_host_takes_no_more_jobs(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    await host.aclose()
    with pytest.raises(EngineError, match="the worker is stopping"):
        await host.run(bench.call(host))


async def test_closing_asks_the_jobs_at_work_to_stop(bench, toy):
    started, asked = threading.Event(), threading.Event()

    def run(job):
        started.set()
        while not job.cancelled:
            time.sleep(0.001)
        asked.set()
        job.check_cancelled()

    host = bench.host(toy(run))
    task = asyncio.create_task(host.run(bench.call(host)))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    await within(host.aclose())
    with pytest.raises(JobCancelled):
        await within(task)
    assert asked.is_set()


async def test_closing_twice_is_closing_once(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    await within(host.run(bench.call(host)))
    await within(host.aclose())
    await within(host.aclose())


async def test_threads_end_with_their_host(bench, toy, answer):
    threads = []
    host = bench.host(toy(in_thread(lambda job: threads.append(threading.current_thread()) or answer)))
    await within(host.run(bench.call(host)))
    await within(host.aclose())
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT_SECS)
        assert not thread.is_alive()
