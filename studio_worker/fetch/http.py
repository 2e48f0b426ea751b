"""The guarded client: fetches one input of a job from a URL that a stranger wrote.

Redirects are walked here, hop by hop, each judged as a new URL. No cookies, no credentials, no proxy from the
environment, no compression, which could make much of little.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from studio_worker.errors import FetchFailed, FetchRefused
from studio_worker.fetch import data_urls
from studio_worker.fetch.atomic_file import AtomicFile
from studio_worker.fetch.guard import Guard, shown
from studio_worker.fetch.hop import (
    CONNECT_SECS,
    MAX_REDIRECTS,
    MIN_PACE,
    PATIENCE_SECS,
    REDIRECTS,
    STALL_SECS,
    TRANSIENT,
    Hop,
    network_failure,
    next_hop,
)
from studio_worker.fetch.off_loop import off_loop
from studio_worker.log import logger
from studio_worker.text import escape

MAX_ON_LOOP = 16 * 1024
"""Characters of a URL that is looked at on the event loop; a ``data:`` URL may have twelve million."""

_REMEDIES = {
    401: "the link asks for credentials; use a signed link",
    403: "the link is not allowed, or has expired; queue the job again with a fresh one",
    404: "nothing is there; check the link",
    410: "it is gone for good; queue the job again with a fresh link",
    451: "it is withheld for legal reasons",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched input. `content_type` is what the sender said, lower case, or empty: a claim, not a fact."""

    path: Path
    size: int
    content_type: str


class Fetcher:
    """Fetches inputs through the guard. An async context manager.

    Args:
        guard: the rules of this moment; asked once for each fetch.
        user_agent: the User-Agent header.
        connect_secs: the longest that name look-up, connection and TLS may take, for each hop.
        stall_secs: the longest without a byte, and the longest that an answer may take to begin.
        patience_secs: how long a body may come slower than `MIN_PACE`.
        resolver: names to addresses; the machine's own by default, in a thread.
        tls: trust of certificates; the machine's own by default.
    """

    def __init__(
        self,
        guard: Callable[[], Guard],
        *,
        user_agent: str,
        connect_secs: float = CONNECT_SECS,
        stall_secs: float = STALL_SECS,
        patience_secs: float = PATIENCE_SECS,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_secs, sock_connect=connect_secs, sock_read=stall_secs
        )
        self._answer_secs = connect_secs + stall_secs
        self._patience_secs = patience_secs
        self._resolver = resolver
        self._tls = tls
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no more fetches. Those under way belong to their callers."""
        self._closed = True
        if self._resolver is not None:
            await self._resolver.close()

    async def fetch(self, url: str, dest: Path, *, limit_bytes: int, what: str) -> Fetched:
        """Fetch `url` into `dest`, which appears whole or not at all.

        Args:
            url: https, http where the guard allows it, or ``data:``.
            dest: the file to make; its folder must exist.
            limit_bytes: the most bytes to take.
            what: what is fetched, the subject of every error's sentence (``task.inputUrl``).

        Raises:
            FetchRefused: the URL, a redirect or the answer breaks a rule.
            FetchFailed: anything else; `retryable` says whether another try can help.
        """
        if self._closed:
            raise FetchFailed(f"{what} was not fetched: the worker is stopping")
        part = AtomicFile(dest)
        try:
            try:
                content_type = await self._fill(url, part, limit_bytes, what)
                await part.finish()
            except BaseException:
                await part.discard()
                raise
        except OSError as error:
            raise FetchFailed(f"{what} could not be written to {dest}: {error.strerror or error}") from error
        logger.bind(event="fetch.done", what=what, size=part.size, url=shown(url[:500])).debug("Fetched an input")
        return Fetched(dest, part.size, content_type)

    async def _fill(self, url: str, part: AtomicFile, limit_bytes: int, what: str) -> str:
        guard = self._guard()
        look = partial(aim, guard, url, limit_bytes=limit_bytes, what=what)
        target = await off_loop(look) if len(url) > MAX_ON_LOOP else look()
        if isinstance(target, data_urls.DataUrl):
            await part.write(target.data)
            return target.media_type
        for _ in range(MAX_REDIRECTS + 1):
            hop = Hop(guard, target, what, self._resolver)
            try:
                answer = await self._ask(hop, part, limit_bytes)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise hop.refusal or network_failure(error, target, what) from error
            if isinstance(answer, str):
                return answer
            target = answer
        raise FetchRefused("too-many-redirects", f"{what} was redirected more than {MAX_REDIRECTS} times")

    async def _ask(self, hop: Hop, part: AtomicFile, limit_bytes: int) -> str | URL:
        """One request: the content type of the body that is in `part` now, or where the answer points to."""
        async with hop.open_session(self._timeout, self._tls) as session:
            async with asyncio.timeout(self._answer_secs):
                response = await session.get(hop.url, headers=self._headers, allow_redirects=False)
            async with response:
                if response.status in REDIRECTS:
                    return next_hop(hop, response)
                _check_answer(response, hop, limit_bytes)
                await self._take(response, hop, part, limit_bytes)
                return response.content_type.lower() if "Content-Type" in response.headers else ""

    async def _take(self, response: aiohttp.ClientResponse, hop: Hop, part: AtomicFile, limit_bytes: int) -> None:
        """The body into `part`: no more than the limit, no slower than the pace."""
        now = asyncio.get_running_loop().time
        begun = now()
        async for chunk in response.content.iter_any():
            if part.size + len(chunk) > limit_bytes:
                raise _too_large(hop.what, hop.url, limit_bytes)
            await part.write(chunk)
            taken = now() - begun
            if taken > self._patience_secs and part.size < MIN_PACE * taken:
                raise FetchFailed(
                    f"{hop.what} could not be fetched from {shown(hop.url)}: "
                    f"it came slower than {MIN_PACE:,} bytes a second"
                )


def aim(guard: Guard, url: str, *, limit_bytes: int, what: str) -> data_urls.DataUrl | URL:
    """What a fetch of `url` begins with, before anybody is asked: the bytes that it carries, or the URL to ask.

    Raises:
        FetchRefused: a rule is broken that can be seen in the URL.
    """
    if data_urls.is_data_url(url):
        return data_urls.decode(url, limit_bytes=limit_bytes, what=what)
    return guard.check(url, what=what)


def _check_answer(response: aiohttp.ClientResponse, hop: Hop, limit_bytes: int) -> None:
    status = response.status
    if status != 200:
        remedy = _REMEDIES.get(status) or escape(response.reason or "no reason given", limit=100)
        raise FetchFailed(
            f"{hop.what} could not be fetched: {shown(hop.url)} answered {status} ({remedy})",
            retryable=status in TRANSIENT or status >= 500,
        )
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FetchRefused(
            "content-encoding",
            f"{hop.what}: {shown(hop.url)} sent {escape(encoding, limit=40)} where the plain bytes were asked for",
        )
    if response.content_length is not None and response.content_length > limit_bytes:
        raise _too_large(hop.what, hop.url, limit_bytes)


def _too_large(what: str, url: URL, limit_bytes: int) -> FetchRefused:
    return FetchRefused("too-large", f"{what} is larger than {limit_bytes:,} bytes ({shown(url)})")
