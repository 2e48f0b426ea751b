"""Backoff: pure functions of the attempt."""

import random

from hypothesis import given
from hypothesis import strategies as st

from studio_worker.jobs.backoff import full_jitter


class Highest(random.Random):
    """Always draws the upper end."""

    def uniform(self, low, high):
        return high


@given(st.integers(min_value=-5, max_value=10**9), st.integers())
def test_a_wait_is_never_nothing_and_never_above_the_cap(tries, seed):
    assert 0.05 <= full_jitter(tries, random.Random(seed)) <= 30


def test_the_bound_doubles_up_to_the_cap():
    bounds = [full_jitter(tries, Highest()) for tries in range(1, 8)]
    assert bounds == [1, 2, 4, 8, 16, 30, 30]


def test_two_workers_that_failed_together_come_back_apart():
    assert full_jitter(5, random.Random(1)) != full_jitter(5, random.Random(2))
