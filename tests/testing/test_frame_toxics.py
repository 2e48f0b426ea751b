"""Cutting a connection at a frame: at the one that is meant, at the byte that is meant, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from studio_worker.testing.frame_toxics import CutFrame
from studio_worker.testing.toxics import Slice, ToxicProxy


class Echo:
    """A server that answers every text with itself, and notes what came."""

    def __init__(self) -> None:
        self.port = 0
        self.texts: list[str] = []
        self.ended = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            self.texts.append(message.data)
            await socket.send_str(message.data)
        self.ended.set()
        return socket


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    app = web.Application()
    app.router.add_get("/", echo.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    echo.port = runner.addresses[0][1]
    yield echo
    await runner.cleanup()


def text(kind: str, size: int = 0) -> str:
    return json.dumps({"type": kind, "pad": "x" * size})


async def talk(proxy: ToxicProxy, *texts: str) -> list[str]:
    """Send each text and read its echo, until the connection ends."""
    got: list[str] = []
    async with aiohttp.ClientSession() as http, http.ws_connect(proxy.url, max_msg_size=0) as socket:
        for each in texts:
            try:
                await socket.send_str(each)
            except ConnectionError:
                break
            message = await socket.receive(timeout=10)
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            got.append(message.data)
    return got


@pytest.mark.parametrize("size", [0, 200, 70_000, 200_000])
async def test_frames_of_every_length_pass_until_the_one_that_is_meant(echo: Echo, size: int) -> None:
    async with ToxicProxy(echo.port) as proxy:
        proxy.toxics = [CutFrame(way="up", number=3)]
        sent = [text(str(number), size) for number in range(4)]
        assert await talk(proxy, *sent) == sent[:2]
        async with asyncio.timeout(10):
            await echo.ended.wait()


async def test_a_frame_is_meant_by_its_type(echo: Echo) -> None:
    toxic = CutFrame(way="up", type="completeJson", at=0)
    async with ToxicProxy(echo.port) as proxy:
        proxy.toxics = [toxic]
        assert await talk(proxy, text("hello"), text("completeJson"), text("more")) == [text("hello")]
        assert echo.texts == [text("hello")]
        assert toxic.is_done
        assert proxy.receipts[0].toxic == "cut up frame 2 completeJson at 0"


@pytest.mark.parametrize("at", [0, 1, 3, 20])
async def test_a_frame_that_is_cut_in_its_middle_never_arrives(echo: Echo, at: int) -> None:
    async with ToxicProxy(echo.port) as proxy:
        proxy.toxics = [CutFrame(way="up", number=1, at=at, by_reset=False)]
        assert await talk(proxy, text("hello", 100)) == []
        async with asyncio.timeout(10):
            await echo.ended.wait()
        assert echo.texts == []


async def test_a_frame_on_the_way_back_arrived_and_its_answer_did_not(echo: Echo) -> None:
    async with ToxicProxy(echo.port) as proxy:
        proxy.toxics = [CutFrame(way="down", number=1, at=1)]
        assert await talk(proxy, text("hello")) == []
        assert echo.texts == [text("hello")]


async def test_the_cut_is_made_once_and_the_next_connection_passes(echo: Echo) -> None:
    async with ToxicProxy(echo.port) as proxy:
        proxy.toxics = [CutFrame(way="up", number=1, at=0)]
        assert await talk(proxy, text("a")) == []
        assert await talk(proxy, text("a"), text("b")) == [text("a"), text("b")]
        assert len(proxy.receipts) == 1


async def test_frames_are_found_in_pieces_of_any_size(echo: Echo) -> None:
    async with ToxicProxy(echo.port) as proxy:
        proxy.toxics = [CutFrame(way="up", number=2, at=0), Slice(7, way="down")]
        assert await talk(proxy, text("a", 500), text("b")) == [text("a", 500)]


async def test_requests_that_are_no_upgrade_pass(echo: Echo) -> None:
    async with ToxicProxy(echo.port) as proxy, aiohttp.ClientSession() as http:
        proxy.toxics = [CutFrame(way="up")]
        async with http.get(proxy.url + "nowhere") as response:
            assert response.status == 404
        assert proxy.receipts == []
