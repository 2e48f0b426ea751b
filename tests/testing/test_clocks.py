"""The clock that tests move."""

from datetime import timedelta

from studio_worker.testing.clocks import MORNING, HandClock


async def test_time_passes_where_somebody_sleeps_and_where_it_is_moved_alone():
    clock = HandClock(5.0)
    assert (clock.monotonic(), clock.now()) == (5.0, MORNING)
    await clock.sleep(30)
    clock.secs += 1
    assert (clock.monotonic(), clock.now()) == (36.0, MORNING + timedelta(seconds=31))
    assert clock.pauses == [30]
