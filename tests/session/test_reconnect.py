"""The rules after a session's end, without one."""

from __future__ import annotations

import random

import pytest

from studio_worker.errors import AuthFailed, DuplicateWorker, ReconnectBudgetSpent, WorkerDeleted
from studio_worker.session.ending import SessionEnded
from studio_worker.session.reconnect import Reconnect

LOST = SessionEnded("lost")
REFUSED = SessionEnded("401", 4001)


def rules(*, attempts: int = 0, base_secs: float = 1.0, seed: int = 1) -> Reconnect:
    return Reconnect(
        studio="https://s.example", attempts=attempts, base_secs=base_secs, settled_secs=30.0, rng=random.Random(seed)
    )


def test_waits_double_up_to_thirty_seconds_with_jitter() -> None:
    reconnect = rules()
    waits = [reconnect.after(LOST) for _ in range(40)]

    for number, wait in enumerate(waits):
        bound = min(30.0, 2.0**number)
        assert 0.75 * bound <= wait <= bound
    assert len(set(waits[6:])) > 30


def test_two_workers_do_not_wait_alike() -> None:
    assert rules(seed=1).after(LOST) != rules(seed=2).after(LOST)


def test_the_base_stretches_the_waits_but_not_their_cap() -> None:
    reconnect = rules(base_secs=0.1)

    assert reconnect.after(LOST) <= 0.1
    assert max(reconnect.after(LOST) for _ in range(20)) <= 30.0
    assert rules(base_secs=600.0).after(LOST) <= 30.0


def test_a_million_failures_are_no_overflow() -> None:
    reconnect = rules()
    reconnect.attempt = 1_000_000

    assert reconnect.after(LOST) <= 30.0


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_budget_is_spent_after_so_many_reconnects_in_a_row(attempts: int) -> None:
    reconnect = rules(attempts=attempts)
    for _ in range(attempts):
        reconnect.after(LOST)

    with pytest.raises(ReconnectBudgetSpent, match=f"after {attempts} reconnects"):
        reconnect.after(LOST)


def test_a_session_that_settled_wipes_both_counts_out() -> None:
    reconnect = rules(attempts=2)
    for _ in range(2):
        reconnect.after(LOST)
    for _ in range(3):
        reconnect.after(REFUSED)
    reconnect.after(SessionEnded("lost", welcome_secs=30.0))

    assert reconnect.attempt == 1
    assert reconnect.after(REFUSED) == 1.0


def test_a_session_that_did_not_settle_wipes_nothing_out() -> None:
    reconnect = rules()
    for _ in range(3):
        reconnect.after(SessionEnded("lost", welcome_secs=29.9))

    assert reconnect.attempt == 3


def test_a_refused_token_is_asked_again_after_1_10_and_60_seconds_times_the_base() -> None:
    reconnect = rules(base_secs=2.0)

    assert [reconnect.after(REFUSED) for _ in range(3)] == [2.0, 20.0, 120.0]
    with pytest.raises(AuthFailed, match="register --reset"):
        reconnect.after(REFUSED)


def test_refusals_spend_no_reconnects_and_the_other_way_round() -> None:
    reconnect = rules(attempts=1)
    for _ in range(3):
        reconnect.after(REFUSED)

    assert reconnect.after(LOST) <= 1.0


def test_duplicate_and_deleted_end_at_once() -> None:
    with pytest.raises(DuplicateWorker, match="another worker"):
        rules().after(SessionEnded("x", 4003))
    with pytest.raises(WorkerDeleted, match="register --reset"):
        rules().after(SessionEnded("x", 4004, welcome_secs=3600.0))
