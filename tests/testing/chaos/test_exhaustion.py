"""What a worker does with an engine that runs out of memory: the job may be tried again, here or elsewhere."""

import sys

import pytest

from studio_worker import EngineError, OutOfMemory
from studio_worker.testing import chaos


@pytest.mark.parametrize(("how", "words"), [("raise", "8.0 GB are free"), ("python", "MemoryError")])
async def test_an_engine_without_memory_fails_one_job_which_may_be_tried_again(worker_with, order, how, words):
    async with worker_with(chaos.out_of_memory(how=how, on_job=1)) as worker:
        with pytest.raises(OutOfMemory, match=words) as failure:
            await order(worker)
        assert failure.value.retryable
        await order(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limit")
async def test_an_engine_that_takes_all_memory_fails_its_job_and_lives(worker_with, order, in_folder):
    async with worker_with(chaos.in_process(in_folder, "out_of_memory", how="exhaust", on_job=2)) as worker:
        await order(worker)
        (engine,) = [found for found in worker.engines if found.name == "chaos"]
        with pytest.raises(OutOfMemory, match="MemoryError") as failure:
            await order(worker)
        assert failure.value.retryable
        await order(worker)
        assert engine.isolation == "process"


async def test_memory_is_not_exhausted_in_the_tests_own_process(worker_with, order):
    async with worker_with(chaos.out_of_memory(how="exhaust")) as worker:
        with pytest.raises(EngineError, match=r"chaos\.out_of_memory\('exhaust'\) would harm") as failure:
            await order(worker)
        assert not failure.value.retryable


async def test_a_model_that_does_not_fit_fails_at_its_load(worker_with, order):
    async with worker_with(chaos.out_of_memory(at="load", on_job=1)) as worker:
        with pytest.raises(OutOfMemory):
            await order(worker)
        await order(worker)
