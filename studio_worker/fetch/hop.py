"""One URL on its way to a socket: the guard's verdict on every address that is used, redirects walked by hand.

aiohttp asks a resolver for names only and follows redirects by itself; therefore every address is judged where the
socket is made, and a redirect is judged as a new URL. Each hop has a connector of its own, so that no pooled connection
outlives the settings that allowed it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from studio_worker.errors import FetchFailed, FetchRefused
from studio_worker.fetch.guard import Guard, shown
from studio_worker.names import Names
from studio_worker.text import escape

REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRANSIENT = frozenset({408, 425, 429})
"""Statuses below 500 that another try can cure."""

MAX_REDIRECTS = 5
CONNECT_SECS = 15.0
"""For the look-up of a name, the connection and TLS."""

STALL_SECS = 30.0
"""The longest without a byte."""

PATIENCE_SECS = 60.0
MIN_PACE = 1024
"""Bytes a second that a body must reach on average once patience is over: a byte now and then is a stall too."""


class Hop(AbstractResolver):
    """One URL on its way to a socket: judges every address that its name has, and every address that is used."""

    def __init__(self, guard: Guard, url: URL, what: str, resolver: AbstractResolver | None) -> None:
        self.guard = guard
        self.url = url
        self.what = what
        self.refusal: FetchRefused | None = None
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, all of them allowed."""
        resolver = self._resolver or Names()
        found = await resolver.resolve(host, port, family)
        for entry in found:
            self._judge(entry["host"], port)
        return found

    async def close(self) -> None:
        """Nothing is held here."""

    def make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for the very address that aiohttp connects to next."""
        family, kind, protocol, _, address = info
        self._judge(address[0], address[1])
        return socket.socket(family, kind, protocol)

    def open_session(
        self, timeout: aiohttp.ClientTimeout, tls: ssl.SSLContext | None, *, read_bufsize: int = 2**16
    ) -> aiohttp.ClientSession:
        """A session for this hop alone: no cookies, no proxy, the bytes as they are sent."""
        connector = aiohttp.TCPConnector(
            resolver=self,
            socket_factory=self.make_socket,
            use_dns_cache=False,
            force_close=True,
            ssl=tls or True,
        )
        return plain_session(connector, timeout, read_bufsize=read_bufsize)

    async def judge_name(self, limit_secs: float | None) -> None:
        """Judge the addresses of the URL's name where a proxy will make the connection.

        A name that is not known here is the proxy's business: closed networks resolve names there alone. Nor is one
        whose look-up is not answered in time, as where a firewall drops the question.

        Args:
            limit_secs: the longest that the look-up may take; None: however long.

        Raises:
            FetchRefused: an address breaks a rule.
        """
        try:
            async with asyncio.timeout(limit_secs):
                await self.resolve(self.url.raw_host or "", self.url.port or 0)
        except OSError:
            if self.refusal is not None:
                raise self.refusal from None

    def _judge(self, address: str, port: int) -> None:
        try:
            self.guard.check_address(self.url, address, port, what=self.what)
        except FetchRefused as refusal:
            self.refusal = refusal
            raise OSError(errno.EACCES, refusal.rule) from None


def plain_session(
    connector: aiohttp.BaseConnector, timeout: aiohttp.ClientTimeout, *, read_bufsize: int
) -> aiohttp.ClientSession:
    """A session that adds nothing of its own to a request and changes nothing in an answer."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        trust_env=False,
        auto_decompress=False,
        requote_redirect_url=False,
        read_bufsize=read_bufsize,
    )


def next_hop(hop: Hop, response: aiohttp.ClientResponse) -> URL:
    """Where a redirect points to, judged as a URL of its own.

    Raises:
        FetchRefused: it breaks a rule.
        FetchFailed: it does not say where to.
    """
    location = response.headers.get("Location", "")
    if not location:
        raise FetchFailed(
            f"{hop.what}: {shown(hop.url)} answered {response.status} without saying where to", retryable=False
        )
    try:
        joined = urljoin(str(hop.url), location)
    except ValueError:
        raise FetchRefused("bad-url", f"{hop.what} was redirected to what is no URL") from None
    if hop.url.scheme == "https" and joined[:5].lower() == "http:":
        raise FetchRefused("redirect-to-plain-http", f"{hop.what} was redirected from https to {shown(joined[:500])}")
    return hop.guard.check(joined, what=f"{hop.what}, redirected,")


def network_failure(error: Exception, url: URL, what: str) -> FetchFailed:
    """An error of aiohttp, or a time-out, as a sentence; another try can help.

    aiohttp's own text of a proxy's refusal holds the proxy's address with its password.
    """
    match error:
        case aiohttp.ConnectionTimeoutError():
            reason = "no connection in time"
        case aiohttp.ServerTimeoutError() | TimeoutError():
            reason = "no byte came for too long"
        case aiohttp.ClientHttpProxyError():
            reason = f"the proxy of the environment answered {error.status} ({error.message})"
        case aiohttp.ClientProxyConnectionError():
            reason = f"no connection to the proxy of the environment ({error.os_error.strerror or error.os_error})"
        case aiohttp.ClientConnectorCertificateError():
            reason = f"its certificate is not trusted ({error.certificate_error})"
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or str(error.os_error)
        case aiohttp.ClientPayloadError():
            reason = "the answer ended before it was whole"
        case _:
            reason = str(error) or type(error).__name__
    return FetchFailed(f"{what} could not be fetched from {shown(url)}: {escape(reason, limit=200)}")
