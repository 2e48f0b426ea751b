"""Jobs that end the process are left alone after the third time, for a while, by their task."""

import pytest

from studio_worker.jobs.poison import MAX_DEATHS, PAUSE_SECS, Deaths, Poison
from studio_worker.wire.claims import Fingerprint

MARK = Fingerprint(text="f")


@pytest.fixture
async def poison(clock):
    return Poison(clock)


def died(clock, count, job_id="job-1"):
    return Deaths(job_id, "f", count, clock.now().timestamp())


async def test_a_job_that_never_killed_may_run(poison):
    assert poison.refusal("job-1", MARK) is None
    assert poison.deaths("job-1", MARK) == 0


@pytest.mark.parametrize("count", range(1, MAX_DEATHS))
async def test_a_job_that_killed_seldom_may_run_and_its_deaths_are_known(poison, clock, count):
    poison.load([died(clock, count)])
    assert poison.refusal("job-1", MARK) is None
    assert poison.deaths("job-1", MARK) == count


async def test_the_refusal_says_how_often_and_how_long(poison, clock):
    poison.load([died(clock, MAX_DEATHS)])
    clock.advance(PAUSE_SECS / 2)
    reason = poison.refusal("job-1", MARK)
    assert "3 times" in reason
    assert "30 min" in reason


async def test_the_pause_ends(poison, clock):
    poison.load([died(clock, MAX_DEATHS)])
    clock.advance(PAUSE_SECS)
    assert poison.refusal("job-1", MARK) is None


async def test_a_clock_that_was_set_back_makes_the_pause_no_longer_than_it_is(poison, clock):
    poison.load([Deaths("job-1", "f", MAX_DEATHS, clock.now().timestamp() + 10 * PAUSE_SECS)])
    assert "60 min" in poison.refusal("job-1", MARK)
    clock.advance(PAUSE_SECS - 60)
    assert "1 min" in poison.refusal("job-1", MARK)
    clock.advance(61)
    assert poison.refusal("job-1", MARK) is None


async def test_what_came_to_an_end_is_forgotten(poison, clock):
    poison.load([died(clock, MAX_DEATHS)])
    poison.forget("job-1", MARK)
    assert poison.refusal("job-1", MARK) is None


async def test_another_task_under_the_same_id_hides_no_death_of_this_one(poison, clock):
    now = clock.now().timestamp()
    poison.load([died(clock, MAX_DEATHS), Deaths("job-1", "another task", 1, now - 10)])
    assert "3 times" in poison.refusal("job-1", MARK)
    assert poison.deaths("job-1", Fingerprint(text="another task")) == 1
    poison.forget("job-1", Fingerprint(text="another task"))
    assert poison.deaths("job-1", MARK) == MAX_DEATHS
