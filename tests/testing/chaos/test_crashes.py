"""What a worker does with an engine that crashes: the job fails and may be tried again, the next one is served."""

import os

import pytest

from studio_worker import BadInput, EngineError
from studio_worker.testing import chaos


async def test_an_engine_that_exits_costs_one_job_which_may_be_tried_again(worker_with, order, in_folder):
    engine = chaos.in_process(in_folder, "crash", on_job=2)
    async with worker_with(engine) as worker:
        await order(worker)
        with pytest.raises(EngineError, match="status 3") as failure:
            await order(worker)
        assert failure.value.retryable
        await order(worker)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGSEGV to name")
async def test_an_engine_that_segfaults_is_named_with_its_signal(worker_with, order, in_folder):
    async with worker_with(chaos.in_process(in_folder, "crash", how="signal", on_job=1)) as worker:
        with pytest.raises(EngineError, match="SIGSEGV") as failure:
            await order(worker)
        assert failure.value.retryable
        await order(worker)


async def test_an_exception_fails_the_job_with_its_words_and_can_be_tried_again(worker_with, order):
    async with worker_with(chaos.crash(how="exception", on_job=1)) as worker:
        with pytest.raises(EngineError, match="RuntimeError: chaos: an exception") as failure:
            await order(worker)
        assert failure.value.retryable
        await order(worker)


async def test_a_refused_input_fails_the_job_for_good(worker_with, order):
    async with worker_with(chaos.crash(how="bad_input", on_job=1)) as worker:
        with pytest.raises(BadInput, match="chaos") as failure:
            await order(worker)
        assert not failure.value.retryable
        await order(worker)


@pytest.mark.parametrize("how", ["exit", "signal"])
async def test_a_crash_that_would_end_the_tests_own_process_is_refused(worker_with, order, how):
    async with worker_with(chaos.crash(how=how)) as worker:
        with pytest.raises(EngineError, match=rf"chaos\.crash\('{how}'\).*package\.module:factory") as failure:
            await order(worker)
        assert not failure.value.retryable


async def test_the_package_itself_is_a_factory_of_an_engine_that_always_exits(worker_with, order):
    async with worker_with("studio_worker.testing.chaos:crash") as worker:
        for _ in range(2):
            with pytest.raises(EngineError, match="status 3"):
                await order(worker)


async def test_a_crash_at_the_load_of_a_model_costs_one_job(worker_with, order, in_folder):
    async with worker_with(chaos.in_process(in_folder, "crash", at="load", on_job=1)) as worker:
        with pytest.raises(EngineError, match="status 3"):
            await order(worker)
        await order(worker)
