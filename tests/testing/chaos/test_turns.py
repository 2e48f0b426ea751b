import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.testing.chaos.turns import Turns


def struck(jobs=12, **when):
    turns = Turns(when)
    return [number for number in range(1, jobs + 1) if turns.come()]


def test_without_a_word_every_job_is_struck():
    assert struck(3) == [1, 2, 3]


def test_every_third_job_is_struck():
    assert struck(every=3) == [3, 6, 9, 12]


def test_one_job_is_struck_and_none_after_it():
    assert struck(on_job=2) == [2]


def test_several_jobs_are_struck_by_number():
    assert struck(on_job=[5, 2]) == [2, 5]


def test_no_number_strikes_nobody():
    assert struck(on_job=[]) == []


@given(seed=st.integers(), chance=st.floats(0, 1))
def test_the_same_seed_strikes_the_same_jobs(seed, chance):
    assert struck(50, seed=seed, chance=chance) == struck(50, seed=seed, chance=chance)


def test_another_seed_strikes_others():
    assert len({tuple(struck(50, seed=seed, chance=0.5)) for seed in range(5)}) == 5


def test_a_chance_strikes_about_its_share():
    assert 350 < len(struck(1_000, seed=1, chance=0.4)) < 450


@pytest.mark.parametrize(("chance", "jobs"), [(0, 0), (1, 20)])
def test_the_ends_of_chance_are_never_and_always(chance, jobs):
    assert len(struck(20, chance=chance)) == jobs


def test_the_tally_says_who_came_and_who_was_struck():
    turns = Turns({"every": 2})
    for _ in range(5):
        turns.come()
    assert (turns.tally.jobs, turns.tally.struck) == (5, (2, 4))


def test_a_tally_in_a_file_decides_by_its_count(tmp_path):
    when = {"on_job": 2, "tally": tmp_path / "tally"}
    assert [Turns(when).come(), Turns(when).come(), Turns(when).come()] == [False, True, False]


@pytest.mark.parametrize(
    "when",
    [{"every": 0}, {"every": -2}, {"on_job": 0}, {"on_job": [3, 0]}, {"chance": 1.5}, {"chance": -0.1}],
    ids=str,
)
def test_a_number_out_of_its_range_is_refused(when):
    with pytest.raises(ValueError, match="from"):
        Turns(when)


def test_two_ways_to_say_which_jobs_are_refused_by_name():
    with pytest.raises(ValueError, match="every and on_job are given"):
        Turns({"every": 2, "on_job": 1})
