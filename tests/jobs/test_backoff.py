"""Backoff: pure functions of the attempt."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.jobs.backoff import RETRY_AFTER_CAP_SECS, full_jitter, retry_after

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


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


@pytest.mark.parametrize(
    ("header", "secs"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("99999999999", RETRY_AFTER_CAP_SECS),
        ("Thu, 01 Jan 2026 12:02:00 GMT", 120),
        ("Fri, 02 Jan 2026 12:00:00 GMT", RETRY_AFTER_CAP_SECS),
    ],
)
def test_a_usable_retry_after_is_honoured_up_to_ten_minutes(header, secs):
    assert retry_after(header, NOW) == secs


@pytest.mark.parametrize(
    "header",
    [None, "", "-1", "0", "NaN", "1e3", "soon", "1.5", "١٢", "Thu, 01 Jan 2026 11:00:00 GMT", "9" * 21, "Thu, 99 Foo"],
)
def test_a_retry_after_that_says_nothing_usable_counts_as_none(header):
    assert retry_after(header, NOW) is None


@given(st.text(max_size=40))
def test_no_header_breaks_the_reading(header):
    wait = retry_after(header, NOW)
    assert wait is None or 0 < wait <= RETRY_AFTER_CAP_SECS
