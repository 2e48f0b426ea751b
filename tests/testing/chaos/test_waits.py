"""What a worker does with an engine that is slow, and with one that hangs."""

import asyncio
import threading

import pytest

from studio_worker import Engine, EngineCapabilities, EngineJob, JobCancelled, LlmResult, TaskKind
from studio_worker.testing import chaos

ANSWER = {
    "object": "chat.completion",
    "model": "fox-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class LoopFox(Engine):
    name = "chaos"
    isolation = "loop"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["chaos-llm"]})

    async def run(self, job):
        job.progress(1, 2)
        job.progress(2, 2)
        return LlmResult(ANSWER)


class Stepping(LoopFox):
    isolation = "thread"

    def run(self, job):
        for step in (1, 2, 3):
            job.progress(step, 3)
        return LlmResult(ANSWER)


class Silent(Stepping):
    def run(self, job):
        return LlmResult(ANSWER)


class Naps:
    """Counts seconds that nobody waits."""

    def __init__(self):
        self.secs = 0.0
        self.begun = threading.Event()

    def __call__(self, secs):
        self.secs += secs
        self.begun.set()


async def test_each_step_of_a_slow_engine_takes_longer(worker_with, order):
    naps = Naps()
    async with worker_with(chaos.slow(Stepping(), 2.0, sleep=naps)) as worker:
        await order(worker)
    assert naps.secs == pytest.approx(2.0 * 3)


async def test_an_engine_that_tells_no_steps_has_one(worker_with, order):
    naps = Naps()
    async with worker_with(chaos.slow(Silent(), 2.0, sleep=naps)) as worker:
        await order(worker)
    assert naps.secs == pytest.approx(2.0)


async def test_only_the_jobs_that_are_struck_are_slow(worker_with, order):
    naps = Naps()
    async with worker_with(chaos.slow(secs=2.0, sleep=naps, on_job=5)) as worker:
        await order(worker)
    assert naps.secs == 0


async def test_a_slow_engine_still_tells_its_progress(worker_with, order):
    async with worker_with(chaos.slow(Stepping(), 0.001)) as worker:
        job = order(worker)
        seen = [progress.step async for progress in job]
        await job
    assert seen[-1] == 3


async def test_a_slow_engine_honours_a_cancel_at_once_and_serves_the_next_job(worker_with, order, soon):
    naps = Naps()
    fault = chaos.slow(secs=3_600.0, on_job=1)
    fault._sleep = lambda secs: (naps(secs), threading.Event().wait(secs))
    async with worker_with(fault) as worker:
        job = order(worker)
        await asyncio.to_thread(naps.begun.wait)
        job.cancel()
        with pytest.raises(JobCancelled):
            await soon(job)
        await soon(order(worker))
    assert naps.secs < 3_600.0


@pytest.mark.parametrize("secs", [0.0, 0.005])
async def test_an_engine_of_the_event_loop_is_slow_without_holding_the_loop(worker_with, order, secs):
    fault = chaos.slow(LoopFox(), secs)
    async with worker_with(fault) as worker:
        beats = 0

        async def beat():
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0)

        beating = asyncio.create_task(beat())
        began = asyncio.get_running_loop().time()
        await order(worker)
        took = asyncio.get_running_loop().time() - began
        beating.cancel()
    assert took >= 2 * secs, "two steps"
    assert beats > 2


async def test_a_hanging_thread_hears_no_cancel_but_its_caller_is_told_at_once(worker_with, order, soon):
    fault = chaos.hang(on_job=1)
    async with worker_with(fault) as worker:
        job, next_one = order(worker), order(worker)
        while not fault.tally.struck:
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(JobCancelled):
            await soon(job)
        assert fault.tally.jobs == 1, "the seat of a thread that hangs is not free"
        fault.release()
        await soon(next_one)


async def test_a_hanging_process_is_ended_after_its_grace_and_the_next_job_gets_a_new_one(
    worker_with, order, soon, in_folder
):
    engine = chaos.in_process(in_folder, "hang", on_job=1, tally=in_folder / "tally")
    tally = chaos.Tally(in_folder / "tally")
    async with worker_with(engine) as worker:
        job = order(worker)
        while not tally.struck:
            await asyncio.sleep(0.01)
        job.cancel()
        with pytest.raises(JobCancelled):
            await soon(job)
        await soon(order(worker))
    assert (tally.jobs, tally.struck) == (2, (1,))


async def test_a_coroutine_that_hangs_ends_with_its_cancel(worker_with, order, soon):
    fault = chaos.hang(LoopFox(), on_job=1)
    async with worker_with(fault) as worker:
        job = order(worker)
        while not fault.tally.struck:
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(JobCancelled):
            await soon(job)
        await soon(order(worker))


async def test_a_coroutine_that_hangs_goes_on_when_it_is_released(worker_with, order, soon):
    fault = chaos.hang(LoopFox())
    async with worker_with(fault) as worker:
        job = order(worker)
        while not fault.tally.struck:
            await asyncio.sleep(0)
        fault.release()
        await soon(job)
        await soon(order(worker))


async def test_a_model_that_never_loads_is_left_when_the_job_is_cancelled(worker_with, order, soon):
    fault = chaos.hang(at="load")
    async with worker_with(fault) as worker:
        job = order(worker)
        while not fault.tally.struck:
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(JobCancelled):
            await soon(job)
        fault.release()


def test_a_step_is_told_before_it_is_waited_for(tmp_path):
    order = []
    job = EngineJob(id="job-1", model="m", task=None, seed=1, work_dir=tmp_path, log=None)
    job._on_progress = lambda *report: order.append(report)
    chaos.slow(secs=0.01, sleep=order.append).before(job)
    job.progress(1, 2)
    assert order == [(1, 2, "run", None), 0.01]
