from concurrent.futures import ThreadPoolExecutor

import pytest

from studio_worker.testing.chaos.tally import Tally


@pytest.fixture(params=["memory", "file"])
def tally(request, tmp_path):
    return Tally(None if request.param == "memory" else tmp_path / "tally")


def test_jobs_are_counted_from_one(tally):
    assert [tally.next(), tally.next(), tally.next()] == [1, 2, 3]
    assert tally.jobs == 3


def test_strikes_are_remembered_in_their_order(tally):
    tally.strike(2)
    tally.strike(5)
    assert tally.struck == (2, 5)


def test_a_new_tally_has_counted_nothing(tally):
    assert (tally.jobs, tally.struck) == (0, ())


def test_threads_get_no_number_twice(tally):
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: tally.next(), range(200)))
    assert sorted(numbers) == list(range(1, 201))


def test_a_count_in_a_file_goes_on_where_another_ended(tmp_path):
    Tally(tmp_path / "tally").next()
    Tally(tmp_path / "tally").strike(1)
    later = Tally(str(tmp_path / "tally"))
    assert (later.next(), later.struck) == (2, (1,))
