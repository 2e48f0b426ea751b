"""Faults F-24 and F-50: a quiet day, and a wall clock that jumps, in a session on a real socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from studio_worker.events import SessionLost
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio

from .conftest import QUICK, keeping


class FastClock:
    """Time that runs `speed` times as fast, with a wall clock that a test sets."""

    def __init__(self, speed: float = 1.0, wall: datetime | None = None) -> None:
        self.speed = speed
        self.wall = wall or datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * self.speed

    def now(self) -> datetime:
        return self.wall

    async def sleep(self, secs: float) -> None:
        await asyncio.sleep(secs / self.speed)


async def test_hours_without_an_offer_are_a_healthy_session(studio: ScriptedStudio) -> None:
    # Two hours in about two seconds: the real bounds, on a clock that runs 3,600 times as fast.
    clock = FastClock(speed=3_600.0)
    timings = replace(
        QUICK, heartbeat_secs=60.0, ack_secs=1_500.0, silence_secs=2_000.0, watch_secs=30.0, log_secs=60.0
    )
    async with keeping(studio, clock=clock, elapsed_clock=lambda: 0.0, timings=timings) as kept:
        await studio.frame("heartbeat", nth=120)
        assert kept.keeper.state.phase == "connected"

    assert kept.events.of(SessionLost) == []
    assert len(studio.sessions) == 1


@pytest.mark.parametrize(
    "wall",
    [
        datetime.now(UTC) + timedelta(hours=1),
        datetime.now(UTC) - timedelta(hours=1),
        datetime.now(UTC) + timedelta(days=3650),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    ],
)
async def test_a_wall_clock_that_jumps_leaves_the_session_alone(studio: ScriptedStudio, wall: datetime) -> None:
    clock = FastClock()
    async with keeping(studio, clock=clock) as kept:
        await studio.heartbeat()
        clock.wall = wall
        await studio.heartbeat()
        await studio.offer(llm_claim("job-1"))
        await studio.frame("accept", job_id="job-1")
        await studio.session.close(1012)
        await studio.welcomed(2)

    assert len(kept.events.of(SessionLost)) == 1
    assert kept.events.of(SessionLost)[0].retry_in_secs <= 0.01
