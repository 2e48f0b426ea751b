"""Scripted answers as a client gets them, from a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web

from studio_worker.testing.answers import Answer, Script, endless, hang, reset, respond


@pytest.fixture
async def ask() -> AsyncIterator[Callable[..., object]]:
    """Asks a server whose one route answers by `script`."""
    script = Script()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await respond(script.next() or {}, request)

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with aiohttp.ClientSession() as http:

        def ask(answer: Answer | None = None) -> object:
            if answer is not None:
                # Twice: aiohttp asks again by itself where a GET's connection was reset.
                script.once(answer, answer)
            return http.get(url, timeout=aiohttp.ClientTimeout(total=0.2))

        yield ask
    await runner.cleanup()


def test_answers_are_used_once_each_and_then_the_lasting_one() -> None:
    script = Script()
    script.once(500, None)
    script.always = 404
    assert [script.next() for _ in range(4)] == [500, None, 404, 404]
    script.always = None
    assert script.next() is None


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (503, 503, {"error": "scripted 503"}),
        ({"a": 1}, 200, {"a": 1}),
        ((409, {"reason": "done"}), 409, {"reason": "done"}),
        ((200, []), 200, []),
    ],
)
async def test_a_json_answer(ask, answer, status, body) -> None:
    async with ask(answer) as response:
        assert (response.status, await response.json()) == (status, body)


async def test_headers_go_with_an_answer(ask) -> None:
    async with ask((429, {}, {"Retry-After": "2"})) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "2")


async def test_a_plain_text_is_a_page(ask) -> None:
    async with ask("<html>") as response:
        assert (response.status, response.content_type, await response.text()) == (200, "text/html", "<html>")


async def test_a_text_with_a_status_is_that_text(ask) -> None:
    async with ask((502, "bad gateway")) as response:
        assert (response.status, await response.text()) == (502, "bad gateway")


async def test_a_function_answers_by_itself_at_once_or_later(ask) -> None:
    async def later(request: web.Request) -> web.StreamResponse:
        return web.Response(status=418)

    for answer in (lambda request: web.Response(status=418), later):
        async with ask(answer) as response:
            assert response.status == 418


async def test_a_hanging_answer_never_comes(ask) -> None:
    with pytest.raises(TimeoutError):
        await ask(hang)


async def test_a_reset_answer_is_a_broken_connection(ask) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(reset)


async def test_an_endless_answer_goes_on_until_its_reader_has_enough(ask) -> None:
    async with ask(endless) as response:
        assert response.status == 200
        async with asyncio.timeout(5):
            assert len(await response.content.readexactly(1_000_000)) == 1_000_000
