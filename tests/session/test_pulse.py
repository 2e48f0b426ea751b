"""When a session counts as dead, and when the machine as having slept; times are plain numbers."""

from __future__ import annotations

import time

import pytest

from studio_worker.session.pulse import Pulse
from studio_worker.session.suspension import SuspensionWatch, elapsed
from studio_worker.session.timings import Timings


def welcomed() -> Pulse:
    pulse = Pulse(100.0, Timings())
    pulse.heard(101.0)
    pulse.welcomed(101.0)
    return pulse


def test_no_welcome_is_borne_for_twenty_seconds() -> None:
    pulse = Pulse(100.0, Timings())

    assert pulse.failure(119.9) is None
    assert pulse.failure(120.0) == "no welcome within 20 s"


def test_frames_before_the_welcome_do_not_put_it_off() -> None:
    pulse = Pulse(100.0, Timings())
    pulse.heard(119.0)

    assert pulse.failure(120.0) is not None


def test_silence_is_borne_for_twenty_seconds() -> None:
    pulse = welcomed()

    assert pulse.failure(120.9) is None
    assert pulse.failure(121.0) == "no frame from the studio for 20 s"


def test_a_frame_breaks_the_silence() -> None:
    pulse = welcomed()
    pulse.heard(120.0)

    assert pulse.failure(139.0) is None


def test_the_oldest_unanswered_heartbeat_counts() -> None:
    pulse = welcomed()
    for at in (101.0, 106.0, 111.0):
        pulse.beat(at)
        pulse.heard(at)

    assert pulse.failure(115.9) is None
    assert pulse.failure(116.0) == "no heartbeatAck for 15 s"


def test_an_ack_answers_for_every_heartbeat_before_it() -> None:
    pulse = welcomed()
    pulse.beat(101.0)
    pulse.beat(106.0)
    pulse.heard(114.0)
    pulse.acknowledged(114.0)

    assert pulse.failure(130.0) is None
    pulse.beat(116.0)
    pulse.heard(130.0)
    assert pulse.failure(131.0) == "no heartbeatAck for 15 s"


def test_a_day_of_frames_and_acks_is_life() -> None:
    pulse = welcomed()
    for tick in range(17_280):
        now = 101.0 + 5 * tick
        pulse.beat(now)
        pulse.heard(now + 0.1)
        pulse.acknowledged(now + 0.1)
        assert pulse.failure(now + 4.9) is None


def test_how_long_a_session_was_welcome() -> None:
    assert welcomed().welcome_secs(131.0) == 30.0
    assert Pulse(100.0, Timings()).welcome_secs(131.0) is None


def test_a_watch_tells_the_gap_beyond_what_was_expected() -> None:
    now = [50.0]
    watch = SuspensionWatch(lambda: now[0])
    now[0] += 1.0
    assert watch.look(1.0) == 0.0
    now[0] += 28_801.0
    assert watch.look(1.0) == 28_800.0
    now[0] += 0.5
    assert watch.look(1.0) == 0.0


def test_the_machines_clock_does_not_follow_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    before = elapsed()
    monkeypatch.setattr(time, "time", lambda: 4e9)

    assert 0.0 <= elapsed() - before < 5.0


def test_a_system_without_such_a_clock_uses_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.delattr(time, "CLOCK_MONOTONIC", raising=False)

    assert abs(elapsed() - time.monotonic()) < 5.0
