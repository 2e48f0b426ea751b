from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from studio_worker.clock import SystemClock, rfc3339


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 6, 15, 21, 0, tzinfo=UTC), "2026-06-15T21:00:00.000Z"),
        (datetime(2026, 6, 15, 21, 0, 0, 999_999, tzinfo=UTC), "2026-06-15T21:00:00.999Z"),
        (datetime(2026, 6, 15, 23, 0, tzinfo=timezone(timedelta(hours=2))), "2026-06-15T21:00:00.000Z"),
        (datetime(2026, 6, 15, 23, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))), "2026-06-15T18:00:00.000Z"),
    ],
)
def test_a_moment_is_written_in_utc_with_milliseconds_and_z(moment, text):
    assert rfc3339(moment) == text


async def test_the_machines_clock_knows_its_zone_and_only_grows():
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before
    assert clock.now().utcoffset() == timedelta(0)
