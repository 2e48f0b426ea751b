"""A connection by itself: what posting promises, how it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from studio_worker.errors import LinkClosed
from studio_worker.session import connection as module
from studio_worker.session.connection import MAX_DIRECT_CHARS, Connection, UpgradeFailed
from studio_worker.session.ending import SessionEnded
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import Fail, Hello
from studio_worker.wire.urls import StudioUrls

FAIL = Fail(job_id="job-1", error="x", retryable=True)
LARGE = Fail(job_id="job-1", error="x" * MAX_DIRECT_CHARS, retryable=True)


@asynccontextmanager
async def connected(studio: ScriptedStudio, http: aiohttp.ClientSession) -> AsyncIterator[Connection]:
    url = StudioUrls.parse(studio.url).connect("w-1")
    connection = await Connection.open(http, url, studio.token, upgrade_secs=2.0, close_secs=0.3)
    sender = asyncio.create_task(connection.send_queued())
    try:
        yield connection
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        await connection.close()


def hello(studio: ScriptedStudio) -> Hello:
    return Hello(auth_token=studio.token, capabilities=Capabilities())


async def test_posts_arrive_in_order_and_are_done_when_written(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    studio.strict = False
    async with connected(studio, http) as connection:
        await connection.post(hello(studio))
        written = [connection.post(Fail(job_id=f"job-{n}", error="x", retryable=True)) for n in range(50)]
        await asyncio.gather(*written)
        await studio.frame("fail", nth=50)

    assert [frame["jobId"] for frame in studio.of_type("fail")] == [f"job-{n}" for n in range(50)]


async def test_posting_is_synchronous_and_needs_nobody_to_wait(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    async with connected(studio, http) as connection:
        connection.post(hello(studio))
        await studio.welcomed()


async def test_text_bytes_and_the_end_are_received_as_what_they_are(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    async with connected(studio, http) as connection:
        session = await studio.connected()
        await session.send_text("text")
        await session.send_bytes(b"bytes")
        closing = asyncio.create_task(session.close(4003, "gone"))
        got = [await connection.receive() for _ in range(3)]
        await closing

    assert got[:2] == ["text", b"bytes"]
    assert isinstance(got[2], SessionEnded)
    assert got[2].code == 4003
    assert "gone" in got[2].reason


async def test_after_the_end_every_receive_is_an_end_again(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    async with connected(studio, http) as connection:
        (await studio.connected()).abort()
        for _ in range(3):
            assert isinstance(await connection.receive(), SessionEnded)


async def test_a_post_after_the_end_is_refused_at_once(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    async with connected(studio, http) as connection:
        await connection.close()
        with pytest.raises(LinkClosed):
            connection.post(FAIL)


async def test_a_small_frame_is_written_in_the_turn_in_which_it_is_posted(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    url = StudioUrls.parse(studio.url).connect("w-1")
    connection = await Connection.open(http, url, studio.token, close_secs=0.3)
    assert connection.post(FAIL).done()
    assert not connection.post(LARGE).done()
    assert not connection.post(FAIL).done(), "a small frame never overtakes a large one"
    await connection.close()


async def test_posts_that_were_not_written_end_with_the_link_and_without_complaint(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    url = StudioUrls.parse(studio.url).connect("w-1")
    connection = await Connection.open(http, url, studio.token, close_secs=0.3)
    waited, forgotten = connection.post(LARGE), connection.post(FAIL)
    await connection.close()

    with pytest.raises(LinkClosed):
        await waited
    del forgotten
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_post_that_was_cancelled_is_no_trouble(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    studio.strict = False
    async with connected(studio, http) as connection:
        connection.post(hello(studio)).cancel()
        await studio.welcomed()
        await connection.post(FAIL)


async def test_a_studio_that_does_not_read_is_given_up_at_the_bound(
    studio: ScriptedStudio, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED_FRAMES", 50)
    big = Fail(job_id="job-1", error="x" * 300_000, retryable=True)
    async with connected(studio, http) as connection:
        (await studio.connected()).stop_reading()
        reader = asyncio.create_task(connection.receive())

        async def flood() -> None:
            for _ in range(1_000):
                connection.post(big)
                await asyncio.sleep(0)

        with pytest.raises(LinkClosed, match="does not read"):
            await flood()
        async with asyncio.timeout(2):
            assert isinstance(await reader, SessionEnded)


async def test_a_close_is_1000_and_may_be_repeated(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    async with connected(studio, http) as connection:
        session = await studio.connected()
        await connection.close()
        await connection.close()
        await studio.gone()

    assert session.close_code == 1000


async def test_a_close_against_a_full_pipe_is_bounded(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    async with connected(studio, http) as connection:
        (await studio.connected()).stop_reading()
        for _ in range(100):
            connection.post(Fail(job_id="job-1", error="x" * 500_000, retryable=True))
        await asyncio.sleep(0.05)
        before = asyncio.get_running_loop().time()
        await connection.close()

        assert asyncio.get_running_loop().time() - before < 1.0


@pytest.mark.parametrize(("status", "code"), [(401, 4001), (403, None), (404, None), (500, None)])
async def test_only_a_401_counts_as_a_refused_token(
    studio: ScriptedStudio, http: aiohttp.ClientSession, status: int, code: int | None
) -> None:
    studio.upgrade_answers.once(status)
    with pytest.raises(UpgradeFailed) as caught:
        await Connection.open(http, StudioUrls.parse(studio.url).connect("w-1"), "token")

    assert caught.value.ended.code == code
    assert str(status) in caught.value.ended.reason


async def test_a_megabyte_of_headers_is_a_failed_try(http: aiohttp.ClientSession) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nX-Big: " + b"x" * 1_000_000 + b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(UpgradeFailed) as caught:
            await Connection.open(http, url, "token", upgrade_secs=2.0)

    assert len(caught.value.ended.reason) < 500


async def test_a_wrong_accept_key_is_a_failed_try(http: aiohttp.ClientSession) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Accept: wrong\r\nSec-WebSocket-Protocol: studio-worker-v1\r\n\r\n"
        )
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(UpgradeFailed):
            await Connection.open(http, url, "token", upgrade_secs=2.0)
