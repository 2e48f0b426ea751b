"""Small requests to a studio: bounds, redirects, proxies, and sentences for what goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from yarl import URL

from studio_worker.errors import StudioUnreachable
from studio_worker.session.studio_http import MAX_BODY, ask, environment_proxy, open_http
from studio_worker.testing import answers
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.version import __version__
from studio_worker.wire.urls import StudioUrls


async def asked(studio: ScriptedStudio, http: aiohttp.ClientSession, answer: Any, **given: Any) -> Any:
    studio.register_answers.once(answer)
    return await ask(http, "POST", StudioUrls.parse(studio.url).register_request, json={"a": 1}, **given)


async def test_a_json_answer_is_read(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    reply = await asked(studio, http, (201, {"b": [1, None]}))

    assert (reply.status, reply.body) == (201, {"b": [1, None]})
    assert studio.requests[0].json == {"a": 1}
    assert studio.requests[0].headers["User-Agent"] == f"studio-worker/{__version__}"


async def test_what_is_no_json_is_none_and_its_first_line_is_told(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    reply = await asked(studio, http, (500, "bad\x1b gateway\nsecond line"))

    assert reply.body is None
    assert reply.said == "bad\\x1b gateway"


@pytest.mark.parametrize("text", ['{"a":NaN}', '{"a":1,"a":2}', "[" * 50_000, '"\\ud800"'])
async def test_json_that_the_contract_refuses_is_none(
    studio: ScriptedStudio, http: aiohttp.ClientSession, text: str
) -> None:
    assert (await asked(studio, http, (200, text))).body is None


async def test_an_endless_body_is_read_to_its_bound(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    reply = await asked(studio, http, answers.endless)

    assert reply.status == 200
    assert reply.body is None


async def test_a_body_of_the_bound_is_read_whole(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    text = '"' + "x" * (MAX_BODY - 2) + '"'

    assert (await asked(studio, http, (200, text))).body == "x" * (MAX_BODY - 2)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_counts_as_no_answer(studio: ScriptedStudio, http: aiohttp.ClientSession, status: int) -> None:
    with pytest.raises(StudioUnreachable, match="redirects to"):
        await asked(studio, http, (status, "", {"Location": "http://elsewhere.example/"}))

    assert len(studio.requests) == 1


async def test_a_hanging_studio_is_given_up(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    with pytest.raises(StudioUnreachable, match="did not answer in time"):
        await asked(studio, http, answers.hang, timeout_secs=0.1)


async def test_a_name_that_does_not_exist_is_named(http: aiohttp.ClientSession) -> None:
    with pytest.raises(StudioUnreachable, match=r"studio\.invalid"):
        await ask(http, "GET", "http://studio.invalid/")


async def test_cookies_are_neither_kept_nor_sent(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    await asked(studio, http, (200, {}, {"Set-Cookie": "track=1; Path=/"}))
    await asked(studio, http, (200, {}))

    assert "Cookie" not in studio.requests[1].headers


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "origin", "proxy"),
    [
        ({}, "https://studio.example", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://studio.example", "http://p:3128"),
        ({"HTTPS_PROXY": "p:3128"}, "https://studio.example", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://studio.example", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http://studio.example", "http://p:3128"),
        ({"ALL_PROXY": "http://p:3128"}, "https://studio.example", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "studio.example"}, "https://studio.example", None),
        ({"HTTPS_PROXY": "socks5://p:1080"}, "https://studio.example", None),
        ({"HTTPS_PROXY": "https://p:3128"}, "https://studio.example", None),
    ],
)
def test_the_environments_proxy(
    clean_environment: pytest.MonkeyPatch, variables: dict[str, str], origin: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        clean_environment.setenv(name, value)

    assert environment_proxy(origin) == (None if proxy is None else URL(proxy))


async def test_a_proxy_that_cannot_be_reached_is_named_without_its_password(
    clean_environment: pytest.MonkeyPatch, studio: ScriptedStudio
) -> None:
    clean_environment.setenv("HTTP_PROXY", "http://ada:hunter2@127.0.0.1:1")
    async with open_http(StudioUrls.parse(studio.url)) as http:
        with pytest.raises(StudioUnreachable) as caught:
            await ask(http, "GET", "http://studio.example/")

    assert "proxy 127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_reset_is_a_sentence(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    with pytest.raises(StudioUnreachable, match=r"127\.0\.0\.1"):
        await asked(studio, http, answers.reset)


async def test_no_connection_is_left_behind(studio: ScriptedStudio) -> None:
    async with open_http(StudioUrls.parse(studio.url)) as http:
        for answer in (answers.endless, 500, "<html>", {}):
            await asked(studio, http, answer)
    await asyncio.sleep(0)

    assert http.closed
