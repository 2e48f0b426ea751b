from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

import pytest

from studio_worker.fetch.mirrors import Way
from studio_worker.fetch.tries import LONGEST_PAUSE_SECS, LONGEST_REST_SECS, Tries
from studio_worker.testing.clocks import MORNING, HandClock

from .file_server import DATA, FileServer, say

A, B, C = Way("https://a.example/"), Way("https://b.example/"), Way("https://c.example/")


def tries(clock: HandClock, *ways: Way) -> Tries:
    return Tries(ways, clock=clock, rng=Random(1))


async def test_ways_are_asked_in_their_order_and_round_again(clock: HandClock) -> None:
    made = tries(clock, A, B, C)
    assert [await made.turn() for _ in range(5)] == [A, B, C, A, B]
    assert clock.pauses == []


@pytest.mark.parametrize(("dropped", "after"), [(A, [C, B]), (B, [C, A]), (C, [A, B])])
async def test_a_way_that_is_dropped_is_asked_no_more(clock: HandClock, dropped: Way, after: list[Way]) -> None:
    made = tries(clock, A, B, C)
    await made.turn()
    await made.turn()
    assert made.drop(dropped)
    assert [await made.turn() for _ in range(2)] == after


async def test_the_last_way_that_is_dropped_leaves_none(clock: HandClock) -> None:
    made = tries(clock, A)
    assert not made.drop(await made.turn())


async def test_pauses_double_up_to_their_bound(clock: HandClock) -> None:
    made = tries(clock, A)
    for _ in range(8):
        await made.turn()
        made.failed(has_gained=False)
        made.pause()
    assert len(clock.pauses) == 7
    for pause, bound in zip(clock.pauses, [1, 2, 4, 8, 16, 30, 30], strict=True):
        assert bound / 2 <= pause <= bound <= LONGEST_PAUSE_SECS


async def test_a_gain_begins_the_count_anew(clock: HandClock) -> None:
    made = tries(clock, A)
    assert [made.failed(has_gained=gain) for gain in (False, False, True, False)] == [1, 2, 1, 2]


async def test_a_way_that_rests_is_passed_over_while_another_is_ready(clock: HandClock) -> None:
    made = tries(clock, A, B)
    made.rest(await made.turn(), 60)
    assert [await made.turn() for _ in range(3)] == [B, B, B]
    assert clock.pauses == []


async def test_where_all_rest_the_one_that_is_ready_first_is_waited_for(clock: HandClock) -> None:
    made = tries(clock, A, B)
    made.rest(A, 60)
    made.rest(B, 20)
    assert await made.turn() == B
    assert clock.pauses == [20]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", ["90", format_datetime(MORNING + timedelta(seconds=90), usegmt=True)])
async def test_a_server_is_left_alone_for_as_long_as_it_asks(
    server: FileServer, pull: Any, status: int, header: str
) -> None:
    server.script = [say(status, b"", Retry_After=header)]
    await pull()
    assert pull.clock.pauses == [90]
    assert pull.dest.read_bytes() == DATA


@pytest.mark.parametrize("header", ["86400", "9" * 20, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_no_server_is_left_alone_for_longer_than_five_minutes(server: FileServer, pull: Any, header: str) -> None:
    server.script = [say(503, b"", Retry_After=header)]
    await pull()
    assert pull.clock.pauses == [LONGEST_REST_SECS] == [300]


@pytest.mark.parametrize("header", ["0", "-5", "soon", "", "1.5", "Mon, 05 Jan 1998 08:00:00 GMT"])
async def test_nonsense_leaves_the_usual_pause(server: FileServer, pull: Any, header: str) -> None:
    server.script = [say(503, b"", Retry_After=header)]
    await pull()
    [pause] = pull.clock.pauses
    assert 0.5 <= pause <= 1


async def test_a_short_wait_that_is_asked_for_does_not_shorten_the_pause(server: FileServer, pull: Any) -> None:
    server.script = [say(503, b"")] * 4 + [say(503, b"", Retry_After="1")]
    await pull()
    assert pull.clock.pauses[-1] >= 8


async def test_a_server_that_asks_to_wait_each_time_is_given_up_all_the_same(server: FileServer, pull: Any) -> None:
    server.script = [say(429, b"", Retry_After="10")] * 10
    error = await pull.failed()
    assert len(server.asked) == 6
    assert "answered 429" in str(error)
    assert error.retryable
