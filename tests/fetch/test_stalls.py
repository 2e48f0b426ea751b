from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from studio_worker.errors import FetchFailed

from .file_server import DATA, Asked, FileServer, head, say, stall, up_to
from .names import Names

NEARLY = len(DATA) * 99 // 100


async def test_a_stall_at_99_percent_is_opened_anew_and_only_the_rest_comes_again(
    server: FileServer, pull: Any
) -> None:
    pull.options = {"stall_secs": 0.15}
    server.script = [stall(NEARLY)]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.asked[1].start == NEARLY


async def test_a_server_that_stalls_each_time_is_given_up_after_six_tries_in_a_row(
    server: FileServer, pull: Any
) -> None:
    pull.options = {"stall_secs": 0.05}
    server.script = [stall(NEARLY)] * 10
    error = await pull.failed()
    assert len(server.asked) == 6
    assert "no byte came for too long" in str(error)
    assert "given up after 6 tries in a row" in str(error)
    assert error.retryable
    assert pull.part.stat().st_size == NEARLY


async def test_pauses_between_tries_grow_and_are_spread(server: FileServer, pull: Any) -> None:
    pull.options = {"stall_secs": 0.05}
    server.script = [stall(NEARLY)] * 10
    await pull.failed()
    bounds = [1, 2, 4, 8, 16]
    assert len(pull.clock.pauses) == len(bounds)
    for pause, bound in zip(pull.clock.pauses, bounds, strict=True):
        assert bound / 2 <= pause <= bound


async def test_tries_that_bring_a_hundredth_of_the_file_are_not_counted(server: FileServer, pull: Any) -> None:
    server.script = [up_to(at) for at in range(10_000, 200_000, 10_000)]
    await pull()
    assert len(server.asked) == 20
    assert pull.dest.read_bytes() == DATA


async def test_tries_that_bring_a_mebibyte_of_whatever_are_not_counted(server: FileServer, pull: Any) -> None:
    mebibyte = 2**20
    server.data = DATA * 200
    server.script = [up_to(at * mebibyte) for at in range(1, 10)]
    await pull()
    assert len(server.asked) == 10
    assert pull.dest.read_bytes() == server.data


async def test_tries_that_bring_less_are_counted(server: FileServer, pull: Any) -> None:
    server.script = [up_to(at) for at in range(9_000, 200_000, 9_000)]
    await pull.failed()
    assert len(server.asked) == 6
    assert pull.part.stat().st_size == 6 * 9_000


async def test_what_comes_again_and_again_is_no_gain(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA[: 300_000 + 100_000 * (turn % 2)], Content_Length=len(DATA)) for turn in range(20)]
    await pull.failed()
    assert len(server.asked) <= 7
    assert all(pause <= 30 for pause in pull.clock.pauses)


async def test_a_body_that_drips_is_given_up_though_it_never_stalls(server: FileServer, pull: Any) -> None:
    async def drip(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, ETag='"one"', Content_Length=len(DATA)))
        for at in range(len(DATA)):
            await server.body(writer, DATA[at : at + 1])
            await asyncio.sleep(0.005)

    pull.options = {"patience_secs": 0.1}
    server.script = [drip]
    await pull()
    assert 0 < server.asked[1].start < 1_000
    assert pull.dest.read_bytes() == DATA


async def test_headers_that_drip_are_given_up(server: FileServer, pull: Any) -> None:
    async def drip(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    pull.options = {"connect_secs": 0.1, "stall_secs": 0.1}
    server.script = [drip]
    await pull()
    assert pull.dest.read_bytes() == DATA


async def test_a_connection_that_is_never_answered_is_given_up(server: FileServer, pull: Any) -> None:
    async def silence(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    pull.options = {"stall_secs": 0.1}
    server.script = [silence]
    await pull()
    assert len(server.asked) == 2


async def test_a_closed_port_is_tried_six_times_and_named(server: FileServer, pull: Any) -> None:
    await server.stop()
    error = await pull.failed()
    assert server.origin in str(error)
    assert "given up after 6 tries" in str(error)
    assert error.retryable


async def test_a_name_that_nobody_knows_is_asked_twice_alone(pull: Any) -> None:
    names = Names()
    pull.options = {"resolver": names}
    error = await pull.failed("https://models.example/a.bin?sig=secret")
    assert len(names.asked) == 2
    assert "https://models.example/a.bin" in str(error)
    assert "secret" not in str(error)
    assert isinstance(error.__cause__, FetchFailed)
    assert isinstance(error.__cause__.__cause__, aiohttp.ClientConnectorDNSError)


async def test_a_cancelled_download_keeps_what_has_come_and_the_next_goes_on(server: FileServer, pull: Any) -> None:
    reached = asyncio.Event()

    async def hold(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await up_to(900_000)(server, asked, writer)
        reached.set()
        await asyncio.Event().wait()

    server.script = [hold]
    task = asyncio.create_task(pull())
    await reached.wait()
    await pull.heard(500_000)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    have = pull.part.stat().st_size
    assert have >= 500_000
    await pull()
    assert server.asked[1].start == have
    assert pull.dest.read_bytes() == DATA
