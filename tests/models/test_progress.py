from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.models.progress import INTERVAL_SECS, LOG_SECS, WINDOW_SECS, DownloadProgress

from .conftest import HeldClock


class Told:
    """What a progress of one model has told."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.numbers: list[tuple[int, int | None]] = []
        self.progress = DownloadProgress("m", lambda done, total: self.numbers.append((done, total)), self.clock)


@pytest.fixture
def told() -> Told:
    return Told()


def test_files_are_told_as_one(told: Told) -> None:
    one, other = told.progress.file(100), told.progress.file(50)
    one(10, 100)
    told.clock.secs += 1
    other(5, 50)
    assert told.numbers == [(10, 150), (15, 150)]


def test_a_file_that_has_not_begun_counts_with_what_the_claim_says(told: Told) -> None:
    one, _ = told.progress.file(100), told.progress.file(900)
    one(100, 100)
    assert told.numbers == [(100, 1_000)]


def test_a_file_of_which_nobody_knows_the_length_has_no_total_before_it_is_whole(told: Told) -> None:
    one = told.progress.file()
    one(10, None)
    told.clock.secs += 1
    one(20, None)
    one(20, 20)
    assert told.numbers == [(10, None), (20, None), (20, 20)]


def test_a_file_that_is_longer_than_the_claim_says_has_no_total_from_then_on(told: Told) -> None:
    one = told.progress.file(15)
    one(10, None)
    told.clock.secs += 1
    one(20, None)
    assert told.numbers == [(10, 15), (20, None)]


def test_there_is_no_total_while_one_of_the_files_has_none(told: Told) -> None:
    one, other = told.progress.file(), told.progress.file()
    one(10, 100)
    told.clock.secs += 1
    other(5, 50)
    assert told.numbers == [(10, None), (15, 150)]


def test_a_file_that_starts_over_does_not_run_backwards(told: Told) -> None:
    one = told.progress.file()
    for done in (80, 0, 40, 100):
        one(done, 100)
        told.clock.secs += 1
    assert told.numbers == [(80, 100), (100, 100)]


def test_a_file_that_has_become_shorter_does_not_run_backwards(told: Told) -> None:
    one = told.progress.file()
    one(80, 100)
    told.clock.secs += 1
    one(50, 50)
    assert told.numbers == [(80, 100), (80, 80)]


def test_five_reports_a_second_at_most_and_the_end_at_once(told: Told) -> None:
    one = told.progress.file()
    for done in range(1, 101):
        one(done, 100)
    assert told.numbers == [(1, 100), (100, 100)]
    assert INTERVAL_SECS == 0.2


def test_nothing_is_told_twice(told: Told) -> None:
    one = told.progress.file()
    for _ in range(3):
        one(50, 100)
        told.clock.secs += 1
    assert told.numbers == [(50, 100)]


def test_the_speed_is_that_of_the_last_seconds(told: Told) -> None:
    one = told.progress.file()
    one(0, 10_000)
    for second in range(1, 31):
        told.clock.secs += 1
        one(min(second, 20) * 100 + max(second - 20, 0) * 10, 10_000)
    assert told.progress.bytes_per_sec == pytest.approx(10, abs=1e-9)
    assert WINDOW_SECS == 10


def test_a_speed_that_is_not_known_is_not_told(told: Told) -> None:
    one = told.progress.file()
    assert told.progress.bytes_per_sec is None
    one(5, 10)
    assert told.progress.bytes_per_sec is None


def test_the_log_has_a_line_every_ten_seconds(told: Told, caplines: list[dict[str, Any]]) -> None:
    one = told.progress.file()
    for second in range(31):
        one(second, 1_000)
        told.clock.secs += 1
    lines = [line for line in caplines if line["event"] == "models.progress"]
    assert [line["done"] for line in lines] == [10, 20, 30]
    assert (lines[-1]["total"], lines[-1]["eta_secs"]) == (1_000, 970)
    assert LOG_SECS == 10


def test_the_log_has_the_speed_and_no_end_where_no_length_is_known(told: Told, caplines: list[dict[str, Any]]) -> None:
    one = told.progress.file()
    for second in range(11):
        one(second * 10**6, None)
        told.clock.secs += 1
    (line,) = [line for line in caplines if line["event"] == "models.progress"]
    assert (line["done"], line["mb_per_sec"]) == (10**7, 1.0)
    assert not {"total", "eta_secs"} & set(line)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200), st.none() | st.integers(1, 200)), max_size=40))
def test_whatever_comes_it_never_runs_backwards_nor_passes_the_total(steps: list[tuple[int, int, int | None]]) -> None:
    told = Told()
    files = [told.progress.file(expected) for expected in (0, 50, 100)]
    for at, done, total in steps:
        files[at](done, total)
        told.clock.secs += 1
    assert all(done >= 0 and (total is None or done <= total) for done, total in told.numbers)
    assert [done for done, _ in told.numbers] == sorted(done for done, _ in told.numbers)
