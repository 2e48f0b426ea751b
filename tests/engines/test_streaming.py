"""Pieces of a result from engines in threads and on the loop, and their way to whoever follows them."""

import asyncio
import threading

import pytest

from studio_worker.engines.base import AudioChunk, TextDelta
from studio_worker.engines.chunks import ChunkRelay
from studio_worker.errors import EngineError

WAIT_SECS = 20.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def streaming(toy, way, answer, *items):
    """An engine that streams `items` in a thread or on the loop."""
    if way == "thread":
        engine = toy(lambda job: answer)

        def stream(job):
            yield from items

    else:

        async def run(job):
            return answer

        engine = toy(run)

        async def stream(job):
            for item in items:
                yield item

    engine.stream = stream
    return engine


@pytest.mark.parametrize("way", ["thread", "loop"])
async def test_pieces_arrive_on_the_loop_in_order_before_the_result(way, bench, toy, answer):
    seen = []
    pieces = [TextDelta("a"), TextDelta("b", "why"), AudioChunk(b"\0\0", 8_000)]
    host = bench.host(streaming(toy, way, answer, *pieces, answer))
    call = bench.call(host, on_chunk=lambda piece: seen.append((piece, threading.get_ident())))
    assert (await within(host.run(call))).result == answer
    assert seen == [(piece, threading.get_ident()) for piece in pieces]


@pytest.mark.parametrize("way", ["thread", "loop"])
async def test_a_stream_without_a_result_fails_its_job(way, bench, toy, answer):
    host = bench.host(streaming(toy, way, answer, TextDelta("a")))
    with pytest.raises(EngineError, match="returned None"):
        await within(host.run(bench.call(host, on_chunk=lambda piece: None)))


@pytest.mark.parametrize("way", ["thread", "loop"])
@pytest.mark.parametrize(("early", "name"), [("hello", "str"), (None, "LlmResult")])
async def test_what_is_no_piece_fails_the_job_for_good_and_is_named(early, name, way, bench, toy, answer):
    seen = []
    items = [early or answer, TextDelta("a"), answer]
    host = bench.host(streaming(toy, way, answer, *items))
    with pytest.raises(EngineError, match=rf"streamed a {name} and went on: .* LlmResult comes once") as failure:
        await within(host.run(bench.call(host, on_chunk=seen.append)))
    assert not failure.value.retryable
    assert seen == []


async def test_a_stream_of_the_wrong_kind_is_told_so(bench, toy, answer):
    engine = streaming(toy, "loop", answer, TextDelta("a"))
    engine.isolation = "thread"
    host = bench.host(engine)
    with pytest.raises(EngineError, match="has an async stream, which needs isolation 'loop'"):
        await within(host.run(bench.call(host, on_chunk=lambda piece: None)))


async def test_a_listener_that_fails_does_not_fail_the_job(bench, toy, answer, log_lines):
    def fail(piece):
        raise ValueError("listener")

    host = bench.host(streaming(toy, "thread", answer, TextDelta("a"), answer))
    assert (await within(host.run(bench.call(host, on_chunk=fail)))).result == answer
    assert any(line.get("event") == "engine.chunk" for line in log_lines)


async def test_pieces_that_gather_before_the_loop_looks_cost_one_wake_up():
    seen, wakes = [], 0
    relay = ChunkRelay(seen.append, job_id="j")
    send = relay._send

    def counted():
        nonlocal wakes
        wakes += 1
        send()

    relay._send = counted
    for n in range(1_000):
        relay(TextDelta(str(n)))
    assert seen == []
    await asyncio.sleep(0)
    assert ([piece.text for piece in seen], wakes) == ([str(n) for n in range(1_000)], 1)


async def test_a_closed_relay_takes_nothing_and_drops_or_hands_on_what_waits():
    kept, dropped = [], []
    for seen, flush in ((kept, True), (dropped, False)):
        relay = ChunkRelay(seen.append, job_id="j")
        relay(TextDelta("a"))
        relay.close(flush=flush)
        relay(TextDelta("b"))
        await asyncio.sleep(0)
    assert (kept, dropped) == ([TextDelta("a")], [])
