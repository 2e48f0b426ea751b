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
        timer.enter(Stage.LOAD)
        overdue: Overdue = await asyncio.wait_for(late.get(), 20)
    assert overdue.stage is Stage.LOAD
    assert overdue.took_secs >= overdue.limit_secs == 0.05


async def test_what_comes_after_a_load_has_a_time_of_its_own(timer, late):
    with timer:
        timer.enter(Stage.LOAD)
        timer.enter(Stage.FIRST_OUTPUT)
        assert (await asyncio.wait_for(late.get(), 20)).stage is Stage.FIRST_OUTPUT


async def test_a_wait_for_a_seat_at_the_engine_is_no_load(by_hand, clock, late):
    with by_hand as timer:
        clock.advance(59)
        timer._look()
        timer.enter(Stage.LOAD)
        clock.advance(0.04)
        timer._look()
        assert late.empty()
        clock.advance(0.02)
        timer._look()
    assert late.get_nowait().stage is Stage.LOAD


async def test_a_report_without_a_word_of_the_load_ends_it(by_hand, clock, late):
    with by_hand as timer:
        timer.report("paint", 1, 10)
        clock.advance(0.06)
        timer._look()
    assert late.get_nowait().stage is Stage.STEP


async def test_a_stage_that_ends_before_the_next_look_is_not_late_for_it(by_hand, clock):
    with by_hand as timer:
        before = timer._timer
        timer.enter(Stage.LOAD)
        assert before.cancelled()
        assert timer._timer.when() < before.when()
        loading = timer._timer
        timer.enter(Stage.FIRST_OUTPUT)
        assert timer._timer is loading


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
    timer.enter(Stage.LOAD)
    assert timer._timer is None


async def test_it_is_said_once(by_hand, clock, late):
    with by_hand as timer:
        timer.enter(Stage.LOAD)
        clock.advance(0.06)
        timer._look()
        assert timer._timer is None
        timer.enter(Stage.FIRST_OUTPUT)
        assert timer._timer is None
    assert late.qsize() == 1
