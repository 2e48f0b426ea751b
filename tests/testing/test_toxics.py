"""The toxics do what they say, and leave a receipt each."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

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


@pytest.fixture
def unused() -> int:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


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


@pytest.mark.parametrize("after", [0, 1, 3, 4, 8])
async def test_a_cut_counts_what_has_passed_also_behind_another_toxic(echo: int, after: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Slice(3, way="down"), Cut(after_bytes=after, way="down", by_reset=False)]
        assert await talk(proxy, b"0123456789") == b"0123456789"[:after]


@pytest.mark.parametrize(("way", "ways"), [("up", {"up"}), ("down", {"down"}), ("both", {"up", "down"})])
async def test_a_toxic_works_on_its_own_way_alone(echo: int, way: Any, ways: set[str]) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Slice(3, way=way)]
        await talk(proxy, b"0123456789")
        assert {receipt.way for receipt in proxy.receipts} == ways


async def test_an_act_that_goes_on_leaves_one_receipt_a_connection_and_way(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Slice(1, way="up")]
        for _ in range(2):
            await talk(proxy, b"x" * 500)
        assert [(receipt.toxic, receipt.connection) for receipt in proxy.receipts] == [("slice", 1), ("slice", 2)]


async def test_a_receipt_says_after_how_many_bytes_the_toxic_acted(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.toxics = []
        writer.write(b"12345")
        await reader.readexactly(5)
        writer.close()
        proxy.toxics = [Cut(after_bytes=5, way="up")]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"1234")
        await reader.readexactly(4)
        writer.write(b"5678")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(4)
        writer.close()
        (receipt,) = proxy.receipts
        assert (receipt.connection, receipt.way, receipt.after_bytes) == (2, "up", 4)


async def test_half_open_may_be_meant_for_one_connection(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        proxy.toxics = [Swallow(way="up", connections=(1,))]
        assert await talk(proxy, b"first", wait_secs=0.1) == b"<silence>"
        assert await talk(proxy, b"second") == b"second"


async def test_toxics_are_those_of_the_moment_of_the_connection(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.toxics = [Cut(after_bytes=0)]
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        writer.close()
        assert (await talk(proxy, b"c")).endswith(b"<reset>")


async def test_the_same_seed_draws_the_same(echo: int) -> None:
    async with ToxicProxy(echo, seed=5) as one, ToxicProxy(echo, seed=5) as two:
        assert [one._rng.random() for _ in range(3)] == [two._rng.random() for _ in range(3)]


async def test_a_target_that_is_gone_is_a_broken_connection(unused: int) -> None:
    async with ToxicProxy(unused) as proxy:
        assert await talk(proxy, b"hello") in (b"", b"<reset>")


async def test_the_end_of_one_side_is_passed_on_to_the_other(echo: int) -> None:
    async with ToxicProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"last words")
        writer.write_eof()
        async with asyncio.timeout(5):
            assert await reader.read() == b"last words"
        writer.close()


async def test_closing_the_proxy_ends_what_goes_through_it(echo: int) -> None:
    before = asyncio.all_tasks()
    async with ToxicProxy(echo) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x")
        await reader.readexactly(1)
        assert proxy.connections == 1
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert not [task for task in asyncio.all_tasks() - before if "_serve" in repr(task) and not task.done()]
