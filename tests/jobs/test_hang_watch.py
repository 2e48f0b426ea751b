"""A thread that does not come back from the disk is noticed by those who do not wait for it."""

import threading

import pytest

from studio_worker.jobs.hang_watch import PATIENCE_SECS, SLOWEST_BYTES_PER_SEC, HangWatch
from studio_worker.testing.clocks import HandClock


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def watch(clock):
    return HangWatch(clock.monotonic)


def test_what_comes_back_in_time_is_no_trouble(watch, clock):
    with watch.at_work():
        clock.secs += PATIENCE_SECS - 1
        assert watch.trouble is None
    clock.secs += PATIENCE_SECS
    assert watch.trouble is None


def test_what_is_overdue_is_a_trouble_until_it_comes_back(watch, clock):
    with watch.at_work():
        clock.secs += PATIENCE_SECS + 1
        assert watch.trouble.code == "disk_hangs"
        assert "does not answer" in watch.trouble.detail
    assert watch.trouble is None


def test_what_fails_has_come_back(watch, clock):
    def fail():
        with watch.at_work():
            raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        fail()
    clock.secs += PATIENCE_SECS + 1
    assert watch.trouble is None


def test_many_bytes_may_take_longer(watch, clock):
    with watch.at_work(size_bytes=60 * SLOWEST_BYTES_PER_SEC):
        clock.secs += PATIENCE_SECS + 59
        assert watch.trouble is None
        clock.secs += 2
        assert watch.trouble is not None


def test_one_thread_that_hangs_is_not_hidden_by_another_that_works(watch, clock):
    began, leave = threading.Event(), threading.Event()

    def hang():
        with watch.at_work():
            began.set()
            leave.wait(20)

    hanging = threading.Thread(target=hang)
    hanging.start()
    try:
        assert began.wait(20)
        clock.secs += PATIENCE_SECS + 1
        with watch.at_work():
            assert watch.trouble.code == "disk_hangs"
    finally:
        leave.set()
        hanging.join()
    assert watch.trouble is None
