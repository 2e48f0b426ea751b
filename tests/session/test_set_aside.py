"""Which offers are set aside, and for how long."""

from __future__ import annotations

from studio_worker.session.ending import SessionEnded
from studio_worker.session.set_aside import SetAside
from studio_worker.testing.clocks import HandClock

BREACH = SessionEnded("1009", 1009, is_breach=True)
LOST = SessionEnded("lost")


def broken(times: int, job_id: str | None = "job-1") -> tuple[SetAside, HandClock]:
    clock = HandClock(0.0)
    aside = SetAside(clock, 300.0)
    for _ in range(times):
        if job_id is not None:
            aside.offered(job_id)
        aside.ended(BREACH)
    return aside, clock


def test_two_breaches_are_borne() -> None:
    assert not broken(2)[0].holds("job-1")


def test_three_breaches_running_set_the_offer_aside_and_no_other() -> None:
    aside, _ = broken(3)

    assert aside.holds("job-1")
    assert not aside.holds("job-2")
    assert not aside.is_shy


def test_an_offer_that_was_never_read_makes_shy_of_all() -> None:
    aside, _ = broken(3, None)

    assert aside.is_shy
    assert not aside.holds("job-1")


def test_an_ordinary_end_in_between_starts_the_count_anew() -> None:
    aside, _ = broken(2)
    aside.offered("job-1")
    aside.ended(LOST)
    for _ in range(2):
        aside.offered("job-1")
        aside.ended(BREACH)

    assert not aside.holds("job-1")


def test_another_offer_starts_its_own_count() -> None:
    aside, _ = broken(2)
    aside.offered("job-2")
    aside.ended(BREACH)

    assert not aside.holds("job-1")
    assert not aside.holds("job-2")


def test_the_third_breach_is_told() -> None:
    aside, _ = broken(2)
    aside.offered("job-1")

    assert aside.ended(BREACH)


def test_time_brings_an_offer_back() -> None:
    aside, clock = broken(3)
    clock.secs = 299.0
    assert aside.holds("job-1")
    clock.secs = 300.0
    assert not aside.holds("job-1")
