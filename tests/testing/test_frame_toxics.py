"""Cuts at frames and in requests: exactly where they are meant, once, and with a receipt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from studio_worker.testing.frame_toxics import CutFrame, CutRequest, Listen
from studio_worker.testing.toxics import ToxicProxy


class Listener:
    """A server that keeps every text it reads, and answers each with another."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.bodies: list[bytes] = []
        self.port = 0

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            self.read.append(message.data)
            await socket.send_str(json.dumps({"type": "answer", "to": message.data}))
        return socket

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        return web.json_response({})


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    app = web.Application()
    app.router.add_get("/socket", listener.socket)
    app.router.add_post("/jobs/{name}/complete", listener.post)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    listener.port = runner.addresses[0][1]
    yield listener
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        yield http


async def talk(http: aiohttp.ClientSession, port: int, *kinds: str) -> list[str]:
    """Say one frame of each kind and hear its answer, until the connection ends; the answers."""
    heard: list[str] = []
    async with http.ws_connect(f"http://127.0.0.1:{port}/socket") as socket:
        for kind in kinds:
            try:
                await socket.send_str(json.dumps({"type": kind, "long": "x" * 300}))
            except ConnectionError:
                break
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            heard.append(message.data)
    return heard


async def test_a_cut_after_a_frame_lets_all_of_it_pass(listener: Listener, http: aiohttp.ClientSession) -> None:
    async with ToxicProxy(listener.port) as proxy:
        proxy.toxics = [CutFrame(way="up", number=2)]
        assert len(await talk(http, proxy.port, "one", "two", "three")) < 3
        assert [json.loads(text)["type"] for text in listener.read] == ["one", "two"]
        assert [receipt.way for receipt in proxy.receipts] == ["up"]


async def test_a_cut_in_a_frame_is_made_at_its_type_and_byte(listener: Listener, http: aiohttp.ClientSession) -> None:
    async with ToxicProxy(listener.port) as proxy:
        proxy.toxics = [CutFrame(way="up", type="two", at=17)]
        assert len(await talk(http, proxy.port, "one", "two", "three")) == 1
        assert [json.loads(text)["type"] for text in listener.read] == ["one"]
        assert "at 17" in proxy.receipts[0].toxic


async def test_a_cut_is_made_on_the_way_down_and_only_once(listener: Listener, http: aiohttp.ClientSession) -> None:
    async with ToxicProxy(listener.port) as proxy:
        cut = CutFrame(way="down", type="answer", at=0, by_reset=False)
        proxy.toxics = [cut]
        assert await talk(http, proxy.port, "one", "two") == []
        assert cut.is_done
        assert len(await talk(http, proxy.port, "three", "four")) == 2
        assert len(proxy.receipts) == 1


async def test_a_cut_in_a_request_spares_other_requests(listener: Listener, http: aiohttp.ClientSession) -> None:
    async with ToxicProxy(listener.port) as proxy:
        cut = CutRequest("/jobs/b/complete", at=400)
        proxy.toxics = [cut]
        base = f"http://127.0.0.1:{proxy.port}/jobs"
        async with http.post(f"{base}/a/complete", data=b"x" * 1_000) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await http.post(f"{base}/b/complete", data=b"x" * 1_000)
        async with http.post(f"{base}/b/complete", data=b"y" * 1_000) as response:
            assert response.status == 200

    assert listener.bodies == [b"x" * 1_000, b"y" * 1_000]
    assert cut.is_done


async def test_a_listener_changes_nothing_and_hears_requests_and_frames(
    listener: Listener, http: aiohttp.ClientSession
) -> None:
    async with ToxicProxy(listener.port) as proxy:
        up, down = Listen("up"), Listen("down")
        proxy.toxics = [up, down]
        async with http.post(f"http://127.0.0.1:{proxy.port}/jobs/a/complete", data=b"x" * 1_000) as response:
            assert response.status == 200
        answers = await talk(http, proxy.port, "one", "two")

    assert listener.bodies == [b"x" * 1_000]
    said = [piece for pieces in up.heard.values() for piece in pieces]
    assert b"x" * 1_000 in b"".join(said)
    assert {text.encode() for text in listener.read} < set(said)
    assert {str(answer).encode() for answer in answers} < {piece for pieces in down.heard.values() for piece in pieces}
    assert proxy.receipts == []


async def test_a_frozen_connection_passes_nothing_and_a_later_one_everything(
    listener: Listener, http: aiohttp.ClientSession
) -> None:
    async with ToxicProxy(listener.port) as proxy, http.ws_connect(f"{proxy.url}socket") as socket:
        proxy.freeze()
        await socket.send_str("lost")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await socket.receive()
        assert len(await talk(http, proxy.port, "one")) == 1

    assert "lost" not in listener.read
    assert [receipt.toxic for receipt in proxy.receipts] == ["freeze"]
