"""The timer of a job's stages: silent while there is news, once and by name when there is none."""

import asyncio

import pytest

from studio_worker.clock import SystemClock
from studio_worker.jobs.stage_limits import Overdue, Stage, StageLimits, StageWatch
from studio_worker.jobs.stage_timer import StageTimer

LIMITS = StageLimits(load_secs=0.05, first_output_secs=0.05, step_secs=0.05, job_secs=60.0)


@pytest.fixture
async def late():
    return asyncio.Queue()


@pytest.fixture
async def timer(late):
    clock = SystemClock()
    return StageTimer(StageWatch(LIMITS, clock), clock, late.put_nowait)


@pytest.fixture
async def by_hand(clock, late):
    """A timer whose clock only the test moves."""
    return StageTimer(StageWatch(LIMITS, clock), clock, late.put_nowait)


async def test_a_load_without_a_word_is_overdue(timer, late):
    with timer:
        overdue: Overdue = await asyncio.wait_for(late.get(), 20)
    assert overdue.stage is Stage.LOAD
    assert overdue.took_secs >= overdue.limit_secs == 0.05


async def test_a_job_that_stops_stepping_is_overdue_in_its_step(timer, late):
    with timer:
        timer.report("paint", 1, 10)
        assert (await asyncio.wait_for(late.get(), 20)).stage is Stage.STEP


async def test_news_moves_the_deadline(by_hand, clock, late):
    with by_hand as timer:
        for step in range(10):
            timer.report("paint", step, 10)
            clock.advance(0.04)
            timer._look()
    assert late.empty()


async def test_nothing_is_said_after_the_end(by_hand):
    with by_hand as timer:
        timer.report("paint", 1, 10)
        waiting = timer._timer
    assert waiting.cancelled()


async def test_it_is_said_once(by_hand, clock, late):
    with by_hand as timer:
        clock.advance(0.06)
        timer._look()
        assert timer._timer is None
    assert late.qsize() == 1
