from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from yarl import URL

from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.proxies import proxy_for

from .file_server import DATA, FileServer, move, up_to
from .loopback_proxy import LoopbackProxy
from .names import Names

HTTPS = URL("https://models.example/a.bin")


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://p.example:3128"}, "http://p.example:3128"),
        ({"HTTPS_PROXY": "http://p.example:3128"}, "http://p.example:3128"),
        ({"https_proxy": "p.example:3128"}, "http://p.example:3128"),
        ({"all_proxy": "https://p.example"}, "https://p.example"),
        ({"http_proxy": "http://p.example"}, None),
        ({"https_proxy": ""}, None),
        ({"https_proxy": "http://p.example", "no_proxy": "other.example"}, "http://p.example"),
        ({"https_proxy": "http://p.example", "no_proxy": "models.example"}, None),
        ({"https_proxy": "http://p.example", "NO_PROXY": "localhost, .example"}, None),
        ({"https_proxy": "http://p.example", "no_proxy": "models.example:443"}, None),
        ({"https_proxy": "http://p.example", "no_proxy": "*"}, None),
    ],
)
def test_the_usual_variables_name_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(HTTPS) == (URL(proxy) if proxy else None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "[::1]", "127.8.8.8"])
def test_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("http_proxy", "http://p.example")
    assert proxy_for(URL(f"http://{host}:8787/a")) is None


@pytest.mark.parametrize("named", ["socks5://u:hunter2@p.example:1080", "ftp://p.example", "http://", "http://[::1"])
def test_a_proxy_that_cannot_be_spoken_to_is_named_and_never_gone_round(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("all_proxy", named)
    with pytest.raises(ModelUnavailable, match=r"set https_proxy, or name the host in no_proxy") as error:
        proxy_for(HTTPS)
    assert "hunter2" not in str(error.value)
    assert error.value.retryable


@pytest.fixture
def behind(pull: Any, world: FileServer, proxy: LoopbackProxy, trust: ssl.SSLContext, monkeypatch: Any) -> Any:
    """Downloads from the world, which only the proxy reaches; its names lead to a public address."""
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    pull.options = {"tls": trust, "resolver": Names("93.184.216.34")}
    return pull


async def test_a_download_goes_through_the_proxy_and_is_resumed_through_it(
    behind: Any, world: FileServer, proxy: LoopbackProxy
) -> None:
    world.script = [up_to(900_000)]
    await behind(str(HTTPS))
    assert proxy.asked == ["CONNECT models.example:443 HTTP/1.1"] * 2
    assert world.asked[1].start > 0
    assert behind.dest.read_bytes() == DATA


async def test_a_redirect_goes_through_the_proxy_too(behind: Any, world: FileServer, proxy: LoopbackProxy) -> None:
    world.paths["/a.bin"] = move("https://huggingface.co/b.bin")
    await behind(str(HTTPS))
    assert proxy.asked[1] == "CONNECT huggingface.co:443 HTTP/1.1"


async def test_an_own_listener_is_asked_beside_the_proxy(behind: Any, server: FileServer, proxy: LoopbackProxy) -> None:
    await behind()
    assert proxy.asked == []


async def test_a_name_that_is_private_here_is_refused_behind_a_proxy_too(behind: Any, proxy: LoopbackProxy) -> None:
    behind.options["resolver"] = Names("10.0.0.1")
    assert (await behind.refused(str(HTTPS))).rule == "private-address"
    assert proxy.asked == []


async def test_a_name_that_only_the_proxy_knows_is_its_business(behind: Any, proxy: LoopbackProxy) -> None:
    behind.options["resolver"] = Names()
    await behind(str(HTTPS))
    assert behind.dest.read_bytes() == DATA


class SilentNames(Names):
    """A name server behind a firewall that drops the question."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked.append(host)
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")


async def test_a_look_up_that_nobody_answers_is_left_in_time_and_is_the_proxys_business(
    behind: Any, proxy: LoopbackProxy
) -> None:
    names = SilentNames()
    behind.options |= {"resolver": names, "connect_secs": 1}
    async with asyncio.timeout(60):
        await behind(str(HTTPS))
    assert set(names.asked) == {"models.example"}
    assert behind.dest.read_bytes() == DATA


async def test_a_proxy_with_a_password_gets_it_and_nobody_else_does(
    behind: Any, world: FileServer, proxy: LoopbackProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://bob:hunter2@127.0.0.1:{proxy.port}")
    await behind(str(HTTPS))
    assert "Proxy-Authorization: Basic Ym9iOmh1bnRlcjI=" in proxy.heads[0]
    assert "proxy-authorization" not in world.asked[0].headers


async def test_a_proxy_that_refuses_is_named_without_its_password(
    behind: Any, proxy: LoopbackProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://bob:hunter2@127.0.0.1:{proxy.port}")
    proxy.refuses = True
    error = await behind.failed(str(HTTPS))
    assert "407" in str(error)
    assert "proxy" in str(error)
    assert "hunter2" not in str(error)


async def test_a_proxy_that_is_not_there_is_named_without_its_password(
    behind: Any, proxy: LoopbackProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://bob:hunter2@127.0.0.1:{proxy.port}")
    await proxy.stop()
    error = await behind.failed(str(HTTPS))
    assert "proxy" in str(error)
    assert "hunter2" not in str(error)
