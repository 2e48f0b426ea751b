from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.local_api.discovery import Discovery, read_discovery
from studio_worker.local_api.guard import MAX_BODY_BYTES, guarded
from studio_worker.local_api.server import LocalApi

ROUTES = [("GET", "/daemon/status"), ("POST", "/daemon/pause"), ("POST", "/daemon/resume")]


@pytest.fixture
def found(api: LocalApi, discovery_file: Path) -> Discovery:
    known = read_discovery(discovery_file)
    assert known is not None
    return known


async def ask(
    found: Discovery,
    method: str = "GET",
    path: str = "/daemon/status",
    *,
    headers: Mapping[str, str] | None = None,
    bearer: str | None = "own",
    data: Any = None,
) -> tuple[int, dict[str, Any]]:
    sent = dict(headers or {})
    if bearer is not None:
        sent["Authorization"] = f"Bearer {found.token if bearer == 'own' else bearer}"
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, found.url + path, headers=sent, data=data) as response,
    ):
        answer = await response.json()
        assert isinstance(answer, dict)
        return response.status, answer


async def raw(found: Discovery, request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
    writer.write(request.encode())
    await writer.drain()
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_the_owner_is_let_through(found: Discovery) -> None:
    assert (await ask(found))[0] == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("bearer", [None, "", "wrong", "0" * 64, "tökén"])
async def test_every_route_needs_the_token(method: str, path: str, bearer: str | None, found: Discovery) -> None:
    status, answer = await ask(found, method, path, bearer=bearer)
    assert (status, answer["error"]) == (401, "unauthorized")
    assert "local-api.json" in answer["message"]


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
async def test_the_token_under_another_scheme_does_not_count(scheme: str, found: Discovery) -> None:
    headers = {"Authorization": f"{scheme} {found.token}"}
    assert (await ask(found, headers=headers, bearer=None))[0] == 401


async def test_the_token_in_the_query_does_not_count(found: Discovery) -> None:
    assert (await ask(found, path=f"/daemon/status?token={found.token}", bearer=None))[0] == 401


async def test_the_scheme_may_be_written_small(found: Discovery) -> None:
    assert (await ask(found, headers={"Authorization": f"bearer {found.token}"}, bearer=None))[0] == 200


@pytest.mark.parametrize("path", ["/daemon/status", "/healthz", "/nowhere"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.2",
        "0.0.0.0",
        "[::2]",
        "x@127.0.0.1",
    ],
)
async def test_a_foreign_host_is_refused_on_every_route(host: str, path: str, found: Discovery) -> None:
    status, answer = await ask(found, path=path, headers={"Host": host})
    assert (status, answer["error"]) == (403, "forbidden_host")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:4787", "127.0.0.1:80"])
async def test_a_loopback_host_is_welcome_whatever_its_port(host: str, found: Discovery) -> None:
    assert (await ask(found, headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "file://",
        "chrome-extension://abc",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil",
        "",
    ],
)
async def test_a_foreign_page_is_refused_even_with_the_token(
    origin: str, method: str, path: str, found: Discovery
) -> None:
    status, answer = await ask(found, method, path, headers={"Origin": origin})
    assert (status, answer["error"]) == (403, "forbidden_origin")


@pytest.mark.parametrize("origin", ["http://127.0.0.1:4787", "https://localhost", "http://[::1]:1"])
async def test_a_page_of_this_machine_is_welcome(origin: str, found: Discovery) -> None:
    assert (await ask(found, headers={"Origin": origin}))[0] == 200


async def test_host_comes_before_origin_and_origin_before_the_token(found: Discovery) -> None:
    both = {"Host": "evil.example", "Origin": "null"}
    assert (await ask(found, headers=both, bearer=None))[1]["error"] == "forbidden_host"
    assert (await ask(found, headers={"Origin": "null"}, bearer=None))[1]["error"] == "forbidden_origin"


async def test_health_needs_no_token(found: Discovery) -> None:
    assert (await ask(found, path="/healthz", bearer=None))[0] == 200


async def test_a_request_without_a_host_is_old_and_welcome(found: Discovery) -> None:
    assert " 200 " in await raw(found, "GET /healthz HTTP/1.0\r\n\r\n")


async def test_a_second_foreign_host_header_is_refused(found: Discovery) -> None:
    answer = await raw(found, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
    assert " 400 " in answer or " 403 " in answer


async def test_an_unknown_route_is_a_json_404(found: Discovery) -> None:
    assert await ask(found, path="/nowhere") == (404, {"error": "not_found", "message": "there is no such route"})


async def test_an_unknown_route_tells_a_stranger_nothing(found: Discovery) -> None:
    assert (await ask(found, path="/nowhere", bearer=None))[0] == 401


async def test_another_method_is_a_json_405(found: Discovery) -> None:
    assert (await ask(found, "GET", "/daemon/pause"))[1]["error"] == "method_not_allowed"


async def test_a_body_at_the_cap_is_taken_and_one_above_refused(found: Discovery) -> None:
    assert (await ask(found, "POST", "/daemon/pause", data=b"x" * MAX_BODY_BYTES))[0] == 200
    status, answer = await ask(found, "POST", "/daemon/pause", data=b"x" * (MAX_BODY_BYTES + 1))
    assert (status, answer["error"]) == (413, "body_too_large")


async def test_a_body_without_a_length_is_capped_too(found: Discovery) -> None:
    async def endless() -> Any:
        for _ in range(20):
            yield b"x" * 100_000

    assert (await ask(found, "POST", "/daemon/pause", data=endless()))[0] == 413


async def test_answers_are_never_cached_nor_sniffed(found: Discovery) -> None:
    async with aiohttp.ClientSession() as http, http.get(found.url + "/healthz") as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert json.loads(await response.text())["ok"] is True


def test_a_guard_without_a_token_is_not_made() -> None:
    with pytest.raises(ValueError, match="open to everybody"):
        guarded("")
