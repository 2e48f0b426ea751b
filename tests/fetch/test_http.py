from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from studio_worker.errors import FetchFailed, FetchRefused
from studio_worker.fetch import data_urls
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.http import Fetcher

WHAT = "task.inputUrl"
LIMIT = 1_000_000


def entry(address: str) -> ResolveResult:
    return ResolveResult(
        hostname="files.example", host=address, port=443, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
    )


class Names(AbstractResolver):
    """A name server of the test's own: every name has these addresses."""

    def __init__(self, answer: list[ResolveResult]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        for found in self.answer:
            found["port"] = port
        return self.answer

    async def close(self) -> None:
        return


class Rebinding(list[Any]):
    """Public when it is looked at first, this machine at every later look."""

    def __init__(self) -> None:
        super().__init__([entry("127.0.0.1")])
        self.looks = 0

    def __iter__(self) -> Iterator[Any]:
        self.looks += 1
        port = super().__getitem__(0)["port"]
        shown = entry("93.184.216.34" if self.looks <= 2 else "127.0.0.1")
        shown["port"] = port
        return iter([shown])


async def refused(fetcher: Fetcher, url: str, dest: Path, limit: int = LIMIT) -> str:
    with pytest.raises(FetchRefused) as error:
        await fetcher.fetch(url, dest, limit_bytes=limit, what=WHAT)
    assert list(dest.parent.iterdir()) == []
    return error.value.rule


async def failed(fetcher: Fetcher, url: str, dest: Path) -> FetchFailed:
    with pytest.raises(FetchFailed) as error:
        await fetcher.fetch(url, dest, limit_bytes=LIMIT, what=WHAT)
    assert list(dest.parent.iterdir()) == []
    return error.value


async def test_an_input_at_the_own_origin_is_fetched(site: Any, fetcher: Fetcher, dest: Path) -> None:
    site.give("/a.wav", b"RIFF" * 200_000, Content_Type="Audio/WAV; x=1")
    fetched = await fetcher.fetch(site.url("/a.wav?sig=a%2Bb"), dest, limit_bytes=LIMIT, what=WHAT)
    assert (fetched.path, fetched.size, fetched.content_type) == (dest, 800_000, "audio/wav")
    assert dest.read_bytes() == b"RIFF" * 200_000
    assert site.requests[0][0] == "/a.wav?sig=a%2Bb"
    assert list(dest.parent.iterdir()) == [dest]


async def test_a_request_carries_no_secret_and_asks_for_plain_bytes(site: Any, fetcher: Fetcher, dest: Path) -> None:
    site.give("/a", b"x", Set_Cookie="id=1")
    site.redirect("/b", "/a")
    await fetcher.fetch(site.url("/a"), dest, limit_bytes=LIMIT, what=WHAT)
    await fetcher.fetch(site.url("/b"), dest, limit_bytes=LIMIT, what=WHAT)
    for _, headers in site.requests:
        assert headers["Accept-Encoding"] == "identity"
        assert headers["User-Agent"] == "studio-worker/test"
        assert not {"Cookie", "Authorization", "Referer"} & headers.keys()


async def test_a_data_url_becomes_a_file(fetcher: Fetcher, dest: Path) -> None:
    fetched = await fetcher.fetch("data:audio/wav;base64,UklGRg==", dest, limit_bytes=LIMIT, what=WHAT)
    assert (fetched.size, fetched.content_type, dest.read_bytes()) == (4, "audio/wav", b"RIFF")


async def test_a_long_data_url_is_decoded_off_the_event_loop(
    fetcher: Fetcher, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    decode = data_urls.decode

    def seen(url: str, *, limit_bytes: int, what: str) -> data_urls.DataUrl:
        threads.append(threading.current_thread())
        return decode(url, limit_bytes=limit_bytes, what=what)

    monkeypatch.setattr(data_urls, "decode", seen)
    await fetcher.fetch("data:text/plain," + "%41" * 100_000, dest, limit_bytes=LIMIT, what=WHAT)
    assert dest.read_bytes() == b"A" * 100_000
    await fetcher.fetch("data:text/plain,a", dest, limit_bytes=LIMIT, what=WHAT)
    assert [thread is threading.current_thread() for thread in threads] == [False, True]


async def test_a_data_url_over_the_limit_leaves_nothing(fetcher: Fetcher, dest: Path) -> None:
    assert await refused(fetcher, "data:,12345678901", dest, limit=10) == "too-large"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "127\u30020\u30020\u30021"])
async def test_a_private_listener_is_never_visited(tripwire: int, fetcher: Fetcher, dest: Path, host: str) -> None:
    assert await refused(fetcher, f"https://{host}:{tripwire}/", dest) == "private-address"


async def test_a_name_that_leads_to_this_machine_is_never_visited(tripwire: int, dest: Path) -> None:
    names = Names([entry("127.0.0.1")])
    async with Fetcher(lambda: Guard(None), user_agent="t", resolver=names) as fetcher:
        assert await refused(fetcher, f"https://files.example:{tripwire}/", dest) == "private-address"
    assert names.asked == ["files.example"]


async def test_one_private_answer_among_public_ones_refuses_the_name(tripwire: int, dest: Path) -> None:
    names = Names([entry("93.184.216.34"), entry("127.0.0.1")])
    async with Fetcher(lambda: Guard(None), user_agent="t", resolver=names) as fetcher:
        assert await refused(fetcher, f"https://files.example:{tripwire}/", dest) == "private-address"


async def test_an_address_that_changes_between_check_and_connect_is_refused_at_the_socket(
    tripwire: int, dest: Path
) -> None:
    answer = Rebinding()
    async with Fetcher(lambda: Guard(None), user_agent="t", resolver=Names(answer)) as fetcher:
        assert await refused(fetcher, f"https://files.example:{tripwire}/", dest) == "private-address"
    assert answer.looks > 2


async def test_a_private_host_is_fetched_where_the_operator_allows_it(site: Any, dest: Path) -> None:
    site.give("/a", b"x")
    async with Fetcher(lambda: Guard(None, allow_private=True), user_agent="t") as fetcher:
        assert (await fetcher.fetch(site.url("/a"), dest, limit_bytes=9, what=WHAT)).size == 1


async def test_the_workers_own_listener_is_never_visited(tripwire: int, dest: Path) -> None:
    guard = Guard(None, allow_private=True, closed=frozenset({("127.0.0.1", tripwire)}))
    async with Fetcher(lambda: guard, user_agent="t") as fetcher:
        assert await refused(fetcher, f"http://localhost:{tripwire}/", dest) == "own-listener"


async def test_settings_are_asked_anew_for_each_fetch(site: Any, dest: Path) -> None:
    site.give("/a", b"x")
    guards = [Guard(None, allow_private=True), Guard(None)]
    async with Fetcher(lambda: guards.pop(0), user_agent="t") as fetcher:
        await fetcher.fetch(site.url("/a"), dest, limit_bytes=9, what=WHAT)
        dest.unlink()
        assert await refused(fetcher, site.url("/a"), dest) == "private-address"


async def test_proxies_of_the_environment_are_ignored(
    site: Any, tripwire: int, fetcher: Fetcher, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{tripwire}")
    monkeypatch.delenv("no_proxy", raising=False)
    site.give("/a", b"x")
    assert (await fetcher.fetch(site.url("/a"), dest, limit_bytes=9, what=WHAT)).size == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(site: Any, fetcher: Fetcher, dest: Path, status: int) -> None:
    site.redirect("/from", "to?x=1", status)
    site.give("/to", b"moved")
    await fetcher.fetch(site.url("/from"), dest, limit_bytes=LIMIT, what=WHAT)
    assert dest.read_bytes() == b"moved"


@pytest.mark.parametrize(
    ("to", "rule"),
    [
        ("http://127.0.0.1:1/", "private-address"),
        ("//169.254.169.254/latest/", "metadata"),
        ("file:///etc/passwd", "scheme"),
        ("data:text/plain,x", "scheme"),
        ("http://files.example/", "plain-http"),
        ("https://u:p@files.example/", "credentials"),
        ("https://files.example:22/", "port"),
        ("http://[::1", "bad-url"),
        ("/graphics/api/workers", "studio-route"),
    ],
)
async def test_each_redirect_is_judged_as_a_new_url(
    site: Any, fetcher: Fetcher, dest: Path, to: str, rule: str
) -> None:
    site.redirect("/from", to)
    assert await refused(fetcher, site.url("/from"), dest) == rule


async def test_a_redirect_to_a_private_listener_is_never_followed(
    site: Any, tripwire: int, fetcher: Fetcher, dest: Path
) -> None:
    site.redirect("/from", f"https://localhost:{tripwire}/")
    assert await refused(fetcher, site.url("/from"), dest) == "private-address"


async def test_five_redirects_are_followed_and_the_sixth_is_refused(site: Any, fetcher: Fetcher, dest: Path) -> None:
    for step in range(6):
        site.redirect(f"/{step}", f"/{step + 1}")
    site.give("/6", b"end")
    await fetcher.fetch(site.url("/1"), dest, limit_bytes=LIMIT, what=WHAT)
    dest.unlink()
    assert await refused(fetcher, site.url("/0"), dest) == "too-many-redirects"


async def test_a_redirect_loop_ends(site: Any, fetcher: Fetcher, dest: Path) -> None:
    site.redirect("/loop", "/loop")
    assert await refused(fetcher, site.url("/loop"), dest) == "too-many-redirects"
    assert len(site.requests) == 6


async def test_a_redirect_without_a_target_fails_for_good(site: Any, fetcher: Fetcher, dest: Path) -> None:
    site.give("/a", b"", status=302)
    assert (await failed(fetcher, site.url("/a"), dest)).retryable is False


async def test_https_is_fetched_and_a_redirect_to_plain_http_is_refused(
    tls_site: Any, trust: ssl.SSLContext, dest: Path
) -> None:
    tls_site.give("/a", b"safe")
    tls_site.redirect("/down", f"http://localhost:{tls_site.port}/a")
    async with Fetcher(lambda: Guard(tls_site.origin), user_agent="t", tls=trust) as fetcher:
        assert (await fetcher.fetch(tls_site.url("/a"), dest, limit_bytes=9, what=WHAT)).size == 4
        dest.unlink()
        assert await refused(fetcher, tls_site.url("/down"), dest) == "redirect-to-plain-http"


async def test_a_certificate_that_nobody_vouches_for_is_refused_by_name(tls_site: Any, dest: Path) -> None:
    tls_site.give("/a", b"x")
    async with Fetcher(lambda: Guard(tls_site.origin), user_agent="t") as fetcher:
        assert "certificate is not trusted" in str(await failed(fetcher, tls_site.url("/a"), dest))
    assert tls_site.requests == []


async def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read(
    site: Any, fetcher: Fetcher, dest: Path
) -> None:
    site.give("/a", b"x" * 11)
    assert await refused(fetcher, site.url("/a"), dest, limit=10) == "too-large"


async def test_an_endless_body_is_cut_at_the_limit(site: Any, fetcher: Fetcher, dest: Path) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    site.answers["/a"] = endless
    assert await refused(fetcher, site.url("/a"), dest) == "too-large"


async def test_a_body_of_exactly_the_limit_is_taken(site: Any, fetcher: Fetcher, dest: Path) -> None:
    site.give("/a", b"x" * 10)
    assert (await fetcher.fetch(site.url("/a"), dest, limit_bytes=10, what=WHAT)).size == 10


async def test_compressed_bytes_are_refused_since_plain_ones_were_asked_for(
    site: Any, fetcher: Fetcher, dest: Path
) -> None:
    site.give("/a", gzip.compress(b"x" * 100_000), Content_Encoding="gzip")
    assert await refused(fetcher, site.url("/a"), dest) == "content-encoding"


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((400, False), (401, False), (403, False), (404, False), (410, False), (451, False), (416, False)),
        *((408, True), (425, True), (429, True), (500, True), (503, True), (204, False), (206, False), (304, False)),
    ],
)
async def test_a_status_says_whether_another_try_can_help(
    site: Any, fetcher: Fetcher, dest: Path, status: int, retryable: bool
) -> None:
    site.give("/a", b"<html>" if status not in (204, 304) else b"", status=status)
    error = await failed(fetcher, site.url("/a?sig=secret"), dest)
    assert error.retryable is retryable
    assert f"answered {status}" in str(error)
    assert str(error).startswith(WHAT)
    assert "secret" not in str(error)


async def test_a_stalled_body_is_given_up(site: Any, fetcher: Fetcher, dest: Path) -> None:
    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * 300_000)
        await asyncio.Event().wait()
        return response

    site.answers["/a"] = stall
    error = await failed(fetcher, site.url("/a"), dest)
    assert error.retryable
    assert "no byte came" in str(error)


async def test_a_body_that_drips_is_given_up(site: Any, dest: Path) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    site.answers["/a"] = drip
    async with Fetcher(lambda: Guard(site.origin), user_agent="t", patience_secs=0.1) as fetcher:
        error = await failed(fetcher, site.url("/a"), dest)
    assert error.retryable
    assert "slower than 1,024 bytes a second" in str(error)


async def test_an_answer_that_drips_its_headers_is_given_up(dest: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Fetcher(lambda: Guard(origin), user_agent="t", connect_secs=0.2, stall_secs=0.2) as fetcher:
            error = await failed(fetcher, f"{origin}/a", dest)
    assert error.retryable


async def test_a_body_that_ends_early_is_retryable(site: Any, fetcher: Fetcher, dest: Path) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response

    site.answers["/a"] = cut
    assert (await failed(fetcher, site.url("/a"), dest)).retryable


async def test_a_closed_port_is_retryable_and_named(dest: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with Fetcher(lambda: Guard(origin), user_agent="t") as fetcher:
        error = await failed(fetcher, f"{origin}/a", dest)
    assert error.retryable
    assert origin in str(error)


async def test_a_name_that_nobody_knows_is_retryable(dest: Path) -> None:
    class Nobody(Names):
        async def resolve(self, *args: Any, **kwargs: Any) -> list[ResolveResult]:
            raise OSError(socket.EAI_NONAME, "Name or service not known")

    async with Fetcher(lambda: Guard(None), user_agent="t", resolver=Nobody([])) as fetcher:
        error = await failed(fetcher, "https://files.example/a", dest)
    assert error.retryable
    assert "files.example" in str(error)


async def test_a_cancelled_fetch_leaves_nothing(site: Any, dest: Path) -> None:
    reached = asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x" * 600_000)
        reached.set()
        await asyncio.Event().wait()
        return response

    site.answers["/a"] = stall
    async with Fetcher(lambda: Guard(site.origin), user_agent="t") as fetcher:
        task = asyncio.create_task(fetcher.fetch(site.url("/a"), dest, limit_bytes=LIMIT, what=WHAT))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert list(dest.parent.iterdir()) == []


async def test_a_folder_that_is_gone_is_named(site: Any, fetcher: Fetcher, dest: Path) -> None:
    site.give("/a", b"x")
    with pytest.raises(FetchFailed, match="could not be written"):
        await fetcher.fetch(site.url("/a"), dest / "gone" / "a", limit_bytes=LIMIT, what=WHAT)


async def test_a_stopped_fetcher_takes_nothing_more(site: Any, fetcher: Fetcher, dest: Path) -> None:
    await fetcher.aclose()
    assert "stopping" in str(await failed(fetcher, site.url("/a"), dest))
