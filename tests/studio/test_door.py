"""Many workers come at once: how fast they come in, and who is sent away for a while."""

import asyncio
import time

import aiohttp
import pytest

from studio_worker.studio.answers import Refusal
from studio_worker.studio.door import Door
from studio_worker.studio.timings import Limits, Timings
from studio_worker.testing.clocks import HandClock

WORKERS = 200


class StillClock(HandClock):
    """Time that passes for nobody who sleeps: all come in the same moment."""

    async def sleep(self, secs):
        self.pauses.append(secs)


async def test_each_one_waits_for_the_turn_after_the_last():
    clock = StillClock()
    door = Door(clock, per_sec=4, longest_secs=10)
    for _ in range(4):
        await door.enter()
    assert clock.pauses == [0.25, 0.5, 0.75]


async def test_who_comes_alone_waits_for_nobody():
    clock = StillClock()
    door = Door(clock, per_sec=4, longest_secs=10)
    for _ in range(3):
        clock.secs += 1
        await door.enter()
    assert clock.pauses == []


async def test_a_queue_that_is_too_long_sends_away_and_says_for_how_long():
    clock = StillClock()
    door = Door(clock, per_sec=4, longest_secs=1)
    for _ in range(5):
        await door.enter()
    with pytest.raises(Refusal, match="room in 2 s") as refusal:
        await door.enter()
    assert (refusal.value.status, refusal.value.headers) == (503, {"Retry-After": "2"})
    clock.secs += 1
    await door.enter()


class TestAStudioWithASmallDoor:
    @pytest.fixture
    async def http(self):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
            yield session

    @pytest.fixture
    def timings(self):
        return Timings(close_secs=0.5, shutdown_secs=0.5, door_secs=0.4)

    @pytest.fixture
    def limits(self):
        return Limits(register_requests=10_000, joins_per_sec=100)

    async def test_lets_a_crowd_in_at_its_pace_and_all_of_it(self, make_worker, admin, monkeypatch):
        workers = [await make_worker() for _ in range(WORKERS)]
        told = []

        async def come(worker):
            while True:
                try:
                    return await worker.connect()
                except aiohttp.WSServerHandshakeError as refused:
                    told.append((refused.status, refused.headers.get("Retry-After")))
                    await asyncio.sleep(0.2)

        began = time.monotonic()
        await asyncio.gather(*map(come, workers))
        took_secs = time.monotonic() - began
        assert set(told) == {(503, "1")}
        assert took_secs > (WORKERS - 1) / 100
        assert [each["state"] for each in await admin.get("/workers")] == ["idle"] * WORKERS

    async def test_gives_no_turn_to_those_without_a_token(self, make_worker):
        worker = await make_worker()
        strangers = await asyncio.gather(*(worker.open(token="x" * 64) for _ in range(100)), return_exceptions=True)
        assert {getattr(each, "status", None) for each in strangers} == {401}
        # A hundred turns would be a second, and more than the studio lets anybody wait.
        await worker.connect()
        assert worker.welcome["type"] == "welcome"
