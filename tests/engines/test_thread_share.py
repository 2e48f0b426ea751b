"""How many CPU threads an engine gets."""

import os

import pytest

from studio_worker.engines.thread_share import capped, thread_share, usable_cores


@pytest.mark.parametrize(
    ("slots", "cores", "share"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (16, 8, 1), (1, 1, 1), (0, 4, 4)]
)
def test_the_cores_are_divided_by_the_jobs_that_may_run_at_once(slots, cores, share):
    assert thread_share(slots, cores) == share


@pytest.mark.parametrize(("asked", "given"), [(None, 2), (1, 1), (3, 3), (64, 4), (0, 1), (-5, 1)])
def test_the_operators_number_counts_up_to_the_cores(asked, given):
    assert capped(asked, 2, 4) == given


@pytest.mark.parametrize("quota", ["100000 100000", "50000 100000"])
def test_a_containers_quota_bounds_the_cores(quota, tmp_path):
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert usable_cores(path) == 1


@pytest.mark.parametrize("quota", ["max 100000", "odd", "1 0 2", "1000000000 1000"])
def test_a_quota_that_is_none_or_larger_than_the_machine_bounds_nothing(quota, tmp_path):
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert usable_cores(path) == usable_cores(tmp_path / "none")


def test_without_a_quota_the_affinity_counts(tmp_path):
    assert usable_cores(tmp_path / "none") == len(os.sched_getaffinity(0))
