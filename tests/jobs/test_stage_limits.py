"""Stage limits: a hung engine is ended, a slow one is left alone."""

import pytest

from studio_worker.jobs.stage_limits import Stage, StageLimits, StageWatch
from studio_worker.testing.clocks import HandClock

LIMITS = StageLimits(load_secs=20, load_bytes_per_sec=100, first_output_secs=30, step_secs=40, job_secs=1_000)


@pytest.fixture
def clock():
    return HandClock(5_000.0)


@pytest.fixture
def watch(clock):
    return StageWatch(LIMITS, clock, model_bytes=500)


@pytest.mark.parametrize(
    ("stage", "limit"),
    [(Stage.LOAD, 25), (Stage.FIRST_OUTPUT, 30), (Stage.STEP, 40), (Stage.WAIT, 1_000)],
)
def test_a_silent_stage_is_overdue_at_its_limit_and_not_before(watch, clock, stage, limit):
    watch.enter(stage)
    end = clock.secs + limit
    assert watch.next_deadline() == end
    assert watch.overdue(end - 0.001) is None
    late = watch.overdue(end)
    assert (late.took_secs, late.limit_secs) == (limit, limit)
    assert late.stage is (Stage.JOB if stage is Stage.WAIT else stage)


def test_a_larger_model_may_load_longer(clock):
    assert LIMITS.of(Stage.LOAD, 2_000) == 40
    assert LIMITS.of(Stage.LOAD, 0) == 20


@pytest.mark.parametrize("stage", [Stage.LOAD, Stage.STEP])
def test_what_is_slow_but_goes_on_is_never_overdue_but_by_the_whole_job(watch, clock, stage):
    began = clock.secs
    watch.enter(stage)
    for step in range(1, 111):
        clock.secs += 9
        assert watch.overdue(clock.secs) is None
        watch.report("run", step, 200)
    assert watch.overdue(began + 1_000 - 0.001) is None
    assert watch.overdue(began + 1_000).stage in (stage, Stage.JOB)
    watch.report("run", 150, 200)
    clock.secs = began + 1_000
    watch.report("run", 151, 200)
    assert watch.overdue(clock.secs).stage is Stage.JOB


def test_the_first_report_after_the_load_is_the_first_output(watch, clock):
    watch.enter(Stage.FIRST_OUTPUT)
    watch.report("run", 0, 20)
    assert watch.stage is Stage.STEP
    assert watch.next_deadline() == clock.secs + 40


def test_a_report_during_the_load_does_not_end_it(watch):
    watch.enter(Stage.LOAD)
    watch.report("load", 1, 2)
    assert watch.stage is Stage.LOAD


def test_a_report_that_says_nothing_new_is_no_sign_of_life(watch, clock):
    watch.enter(Stage.STEP)
    watch.report("run", 3, 20)
    end = clock.secs + 40
    for _ in range(39):
        clock.secs += 1
        watch.report("run", 3, 20)
    assert watch.overdue(end).stage is Stage.STEP


def test_another_stage_at_the_same_step_is_news(watch, clock):
    watch.enter(Stage.STEP)
    watch.report("run", 20, 20)
    clock.secs += 39
    watch.report("decode", 20, 20)
    assert watch.overdue(clock.secs + 39) is None


def test_the_sentence_names_the_stage_and_the_times(watch, clock):
    watch.enter(Stage.LOAD)
    assert str(watch.overdue(clock.secs + 26)) == "stage 'load' is overdue: 26 s, 25 s are allowed"


def test_the_defaults_leave_a_large_model_on_a_slow_disk_its_time():
    assert StageLimits().of(Stage.LOAD, 20 * 10**9) >= 20 * 10**9 / 30e6
