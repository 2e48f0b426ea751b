"""The toxics do what they say, and leave a receipt each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from studio_worker.testing.toxics import Cut, Latency, Slice, Swallow, Throttle, Toxic, ToxicProxy


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def talk(proxy: ToxicProxy, data: bytes, *, wait_secs: float = 5.0) -> bytes:
    """Send and read until the echo is whole or the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    got = b""
    try:
        writer.write(data)
        async with asyncio.timeout(wait_secs):
            while len(got) < len(data) and (piece := await reader.read(65_536)):
                got += piece
    except ConnectionError:
        got += b"<reset>"
    except TimeoutError:
        got += b"<silence>"
    finally:
        writer.close()
    return got


async def test_without_toxics_the_proxy_is_a_pipe(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        assert await talk(proxy, b"x" * 300_000) == b"x" * 300_000
        assert proxy.receipts == []


async def test_a_cut_lets_exactly_so_many_bytes_pass(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Cut(after_bytes=5, way="down", by_reset=False)]
        assert await talk(proxy, b"0123456789") == b"01234"
        assert proxy.receipts[0].toxic == "cut"


async def test_a_cut_by_reset_is_an_error_at_the_other_end(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Cut(after_bytes=0, way="up")]
        assert (await talk(proxy, b"0123456789")).endswith(b"<reset>")


async def test_a_cut_can_be_meant_for_one_connection(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Cut(after_bytes=0, connections=(1,))]
        assert await talk(proxy, b"first") != b"first"
        assert await talk(proxy, b"second") == b"second"


async def test_a_half_open_connection_passes_nothing_and_never_ends(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Swallow(after_bytes=3, way="up")]
        assert await talk(proxy, b"0123456789", wait_secs=0.2) == b"012<silence>"
        assert [receipt.toxic for receipt in proxy.receipts] == ["swallow"]


@pytest.mark.parametrize("toxic", [Slice(3), Throttle(1e6), Latency(0.01, 0.01)])
async def test_slow_and_sliced_bytes_all_arrive(echo: int, toxic: Toxic) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [toxic]
        assert await talk(proxy, bytes(range(256)) * 4) == bytes(range(256)) * 4
        assert proxy.receipts


async def test_every_connection_can_be_cut_at_once(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        await reader.read(1)
        proxy.cut_all()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()
