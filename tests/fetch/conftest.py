"""Real listeners on loopback: a site whose answers a test sets, and one that nobody may visit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme
from aiohttp import web

from studio_worker.errors import FetchFailed, FetchRefused
from studio_worker.fetch.download import Downloaded, Downloader, DownloadSettings
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.http import Fetcher
from studio_worker.fetch.wanted import WantedFile
from studio_worker.testing.clocks import HandClock

from .file_server import FileServer
from .loopback_proxy import LoopbackProxy

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@dataclass
class Site:
    """A web server; `answers` says what each path answers, `requests` what was asked."""

    scheme: str
    port: int = 0
    answers: dict[str, Handler] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        return f"{self.scheme}://{host}:{self.port}"

    def url(self, path: str) -> str:
        return self.origin + path

    def give(self, path: str, body: bytes, status: int = 200, **headers: str) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(
                body=body, status=status, headers={key.replace("_", "-"): value for key, value in headers.items()}
            )

        self.answers[path] = answer

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": to})

        self.answers[path] = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.raw_path, dict(request.headers)))
        handler = self.answers.get(request.path)
        return web.Response(status=404) if handler is None else await handler(request)


async def _serve(site: Site, tls: ssl.SSLContext | None) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", site.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await listener.start()
    site.port = runner.addresses[0][1]
    return runner


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """The studio's own origin, plain http."""
    site = Site("http")
    runner = await _serve(site, None)
    yield site
    await runner.cleanup()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def tls_site(authority: trustme.CA) -> AsyncIterator[Site]:
    """The studio's own origin, https, at the name localhost."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    site = Site("https")
    runner = await _serve(site, tls)
    yield site
    await runner.cleanup()


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    """A client that trusts the authority of `tls_site`."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def tripwire() -> AsyncIterator[int]:
    """The port of a listener on loopback that must never be visited."""
    visits: list[object] = []

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert visits == []


@pytest.fixture
async def fetcher(site: Site) -> AsyncIterator[Fetcher]:
    """A fetcher of which `site` is the own origin, with short times."""
    async with Fetcher(
        lambda: Guard(site.origin), user_agent="studio-worker/test", connect_secs=5, stall_secs=0.3
    ) as made:
        yield made


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where a fetch goes: a folder with nothing else in it."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder / "audio"


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    """A server of one file, the studio's own origin for `download`."""
    made = FileServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def world(authority: trustme.CA) -> AsyncIterator[FileServer]:
    """A server that says to be models.example and huggingface.co; only `proxy` leads to it."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("models.example", "huggingface.co").configure_cert(tls)
    made = FileServer()
    await made.start(tls)
    yield made
    await made.stop()


@pytest.fixture
async def proxy(world: FileServer) -> AsyncIterator[LoopbackProxy]:
    made = LoopbackProxy(leads_to=world.port)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@dataclass
class Puller:
    """Downloads one file to `dest` with short times; what it told of its progress is in `told`."""

    server: FileServer
    clock: HandClock
    dest: Path
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    told: list[tuple[int, int | None]] = field(default_factory=list)
    allow_private: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def part(self) -> Path:
        return self.dest.with_name(self.dest.name + ".part")

    def downloader(self) -> Downloader:
        return Downloader(
            lambda: Guard(self.server.origin, allow_private=self.allow_private),
            lambda: DownloadSettings(**self.settings),
            user_agent="studio-worker/test",
            rng=Random(1),
            **{"clock": self.clock, "connect_secs": 5, "stall_secs": 5, **self.options},
        )

    async def __call__(self, url: str | None = None, **wanted: Any) -> Downloaded | None:
        made = WantedFile(url=url or self.server.url, dest=self.dest, what="model file a.bin", **wanted)
        return await self.downloader().download(made, self.hear)

    def hear(self, done: int, total: int | None) -> None:
        self.told.append((done, total))
        self._news.set()

    async def heard(self, done: int = 0) -> None:
        """Return once so many bytes were told of."""
        while not self.told or self.told[-1][0] < done:
            self._news.clear()
            await self._news.wait()

    async def failed(self, url: str | None = None, **wanted: Any) -> FetchFailed:
        with pytest.raises(FetchFailed) as error:
            await self(url, **wanted)
        return error.value

    async def refused(self, url: str | None = None, **wanted: Any) -> FetchRefused:
        with pytest.raises(FetchRefused) as error:
            await self(url, **wanted)
        return error.value


@pytest.fixture
def pull(server: FileServer, clock: HandClock, tmp_path: Path) -> Puller:
    folder = tmp_path / "models"
    folder.mkdir()
    return Puller(server, clock, folder / "a.bin")
