from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from yarl import URL

from studio_worker.fetch.download import DownloadSettings
from studio_worker.fetch.hub_token import bearer, remedy

from .file_server import DATA, Asked, FileServer, move, say
from .loopback_proxy import LoopbackProxy
from .names import Names

TOKEN = "hf_canary"


@pytest.mark.parametrize("host", ["huggingface.co", "www.huggingface.co", "hf.co"])
def test_the_token_goes_to_the_hub(host: str) -> None:
    assert bearer(URL(f"https://{host}/m/resolve/main/a.bin"), TOKEN) == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "url",
    [
        "https://huggingface.co.evil.com/",
        "https://evilhuggingface.co/",
        "https://evil.com/huggingface.co",
        "https://evil.com/?huggingface.co",
        "https://cdn-lfs.huggingface.co/",
        "https://cas-bridge.xethub.hf.co/",
        "http://huggingface.co/",
        "https://huggingface.co:8443/",
        "https://huggingface.co./",
    ],
)
def test_the_token_goes_to_nobody_else(url: str) -> None:
    assert bearer(URL(url), TOKEN) is None


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_nothing_is_sent(token: str | None) -> None:
    assert bearer(URL("https://huggingface.co/"), token) is None


@pytest.mark.parametrize(
    ("status", "has_token", "words"),
    [
        (401, False, "no token: set hf_token"),
        (403, False, "no token: set hf_token"),
        (401, True, "is not accepted: set a valid one"),
        (403, True, "accept the model's licence on its page"),
    ],
)
def test_a_refusal_of_the_hub_names_what_to_do(status: int, has_token: bool, words: str) -> None:
    assert words in remedy(status, URL("https://huggingface.co/"), has_token=has_token)


def test_settings_that_are_printed_do_not_show_the_token() -> None:
    assert TOKEN not in repr(DownloadSettings(hub_token=TOKEN))


@pytest.fixture
def gated(pull: Any, world: FileServer, proxy: LoopbackProxy, trust: ssl.SSLContext, monkeypatch: Any) -> Any:
    """Downloads with a token from the world, in which huggingface.co and models.example are."""
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
    pull.options = {"tls": trust, "resolver": Names("93.184.216.34")}
    pull.settings = {"hub_token": TOKEN}
    return pull


async def test_a_gated_file_comes_with_the_token_which_is_dropped_on_the_way_to_the_cdn(
    gated: Any, world: FileServer, caplines: list[dict[str, Any]]
) -> None:
    world.paths["/m/resolve/main/a.bin"] = move("https://models.example/cdn/a.bin?X-Signature=1")
    await gated("https://huggingface.co/m/resolve/main/a.bin")
    hub, cdn = world.asked
    assert hub.headers["authorization"] == f"Bearer {TOKEN}"
    assert "authorization" not in cdn.headers
    assert gated.dest.read_bytes() == DATA
    assert TOKEN not in str(caplines)


async def test_the_token_is_not_sent_to_whoever_leads_to_the_hub_but_to_the_hub(gated: Any, world: FileServer) -> None:
    world.paths["/start"] = move("https://huggingface.co/a.bin")
    await gated("https://models.example/start")
    assert ["authorization" in asked.headers for asked in world.asked] == [False, True]


async def test_a_mirror_of_the_hub_gets_no_token(gated: Any, world: FileServer) -> None:
    gated.settings["mirrors"] = {"huggingface.co": ("https://models.example/hf",)}
    await gated("https://huggingface.co/a.bin")
    assert [asked.path for asked in world.asked] == ["/hf/a.bin"]
    assert "authorization" not in world.asked[0].headers


@pytest.mark.parametrize(
    ("status", "token", "words"),
    [(401, None, "no token"), (401, TOKEN, "not accepted"), (403, TOKEN, "accept the model's licence")],
)
async def test_a_gated_file_fails_in_one_try_with_what_to_do(
    gated: Any, world: FileServer, status: int, token: str | None, words: str
) -> None:
    gated.settings["hub_token"] = token
    world.script = [say(status, b"")] * 3
    error = await gated.failed("https://huggingface.co/a.bin")
    assert len(world.asked) == 1
    assert not error.retryable
    assert words in str(error)
    assert TOKEN not in str(error)


@pytest.mark.parametrize("coded", [str, lambda said: b64encode(f"u:{said}".encode()).decode()], ids=["plain", "base64"])
async def test_a_hub_that_repeats_the_token_in_its_answer_has_it_repeated_nowhere(
    gated: Any, world: FileServer, caplines: list[dict[str, Any]], coded: Callable[[str], str]
) -> None:
    async def repeat(server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 400 No {coded(asked.headers['authorization'])}\r\nContent-Length: 0\r\n\r\n".encode())

    world.paths["/a.bin"] = repeat
    error = await gated.failed("https://huggingface.co/a.bin")
    assert "400 (No " in str(error)
    assert "***" in str(error)
    world.paths["/a.bin"] = move(f"https://models.example/{coded(TOKEN)}")
    world.paths[f"/{coded(TOKEN)}"] = say(503, b"")
    error = await gated.failed("https://huggingface.co/a.bin")
    assert "https://models.example/" in str(error)
    for text in (TOKEN, coded(TOKEN), coded(f"Bearer {TOKEN}")):
        assert text not in str(error)
        assert text not in str(caplines)


async def test_a_cdn_that_refuses_says_nothing_of_tokens(gated: Any, world: FileServer) -> None:
    world.paths["/a.bin"] = move("https://models.example/cdn")
    world.paths["/cdn"] = say(403, b"")
    error = await gated.failed("https://huggingface.co/a.bin")
    assert "has expired" in str(error)


async def test_the_token_is_on_no_disk(gated: Any, world: FileServer) -> None:
    world.script = [say(200, DATA[:900_000], ETag='"one"', Content_Length=len(DATA)), say(403, b"")]
    await gated.failed("https://huggingface.co/a.bin")
    for path in gated.dest.parent.rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes()
