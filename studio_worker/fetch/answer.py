"""What the answer to a request for (the rest of) a file says about itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp
from yarl import URL

from studio_worker.errors import FetchFailed, FetchRefused
from studio_worker.fetch.guard import shown
from studio_worker.fetch.hop import TRANSIENT
from studio_worker.fetch.hub_token import remedy
from studio_worker.fetch.wanted import Wanted
from studio_worker.text import escape

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII | re.IGNORECASE)
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_REMEDIES = {
    404: "nothing is there; check the URL",
    410: "it is gone for good; name another URL",
    451: "it is withheld for legal reasons; name another URL or a mirror (model_mirrors)",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read.

    Attributes:
        start: the byte of the file that its body begins with.
        total: bytes of the whole file, None where it does not say.
        validator: a strong ETag or else the date of the last change; empty: none.
        restart: why the part cannot be continued; empty: it can, or there is none.
        is_complete: the part is the whole file.
    """

    start: int = 0
    total: int | None = None
    validator: str = ""
    restart: str = ""
    is_complete: bool = False


def read_answer(response: aiohttp.ClientResponse, have: int) -> Answer:
    """What `response` says.

    Args:
        response: to a request for everything, or for the bytes from `have` on.
        have: bytes that are here already; 0: everything was asked for.
    """
    said = response.headers.get("Content-Range", "")
    if response.status == 206:
        found = _RANGE.fullmatch(said.strip())
        if found is None or int(found[1]) != have or int(found[2]) < have:
            return Answer(restart=f"the server sent {escape(said, limit=80)!r} for the bytes from {have:,} on")
        total = None if found[3] == "*" else int(found[3])
        if total is None and response.content_length is not None:
            total = have + response.content_length
        return Answer(have, total, _validator(response))
    if response.status == 416 and have:
        whole = _UNSATISFIED.fullmatch(said.strip())
        if whole is not None and int(whole[1]) == have:
            return Answer(have, have, is_complete=True)
        return Answer(restart="the server has fewer bytes than are here already")
    return Answer(0, response.content_length, _validator(response))


def check_answer(
    response: aiohttp.ClientResponse, url: URL, answer: Answer, wanted: Wanted, *, has_token: bool
) -> None:
    """Refuse an answer whose body is not the file.

    Raises:
        FetchFailed: by its status; `retryable` says whether another try can help.
        FetchRefused: it is packed, a page for people, or of another size; rules `content-encoding`, `not-a-model`,
            `too-large`, `too-small`, `no-length`.
    """
    if response.status not in (200, 206):
        raise _failure(response, url, wanted, has_token=has_token)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise FetchRefused(
            "content-encoding",
            f"{wanted.what}: {shown(url)} sent {escape(encoding, limit=40)} where the plain bytes were asked for",
        )
    if "Content-Type" in response.headers and response.content_type.lower() in _PAGES:
        raise FetchRefused(
            "not-a-model", f"{wanted.what}: {shown(url)} is not a model: {response.content_type.lower()}"
        )
    is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    if answer.total is None and not is_chunked and wanted.sha256 is None:
        raise FetchRefused(
            "no-length",
            f"{wanted.what}: {shown(url)} does not say how long it is, and no SHA-256 says when it is whole",
        )
    if answer.total is not None and answer.total > wanted.largest:
        raise FetchRefused("too-large", _size(url, answer.total, wanted))
    if answer.total is not None and answer.total < wanted.smallest:
        raise FetchRefused("too-small", _size(url, answer.total, wanted))


def _failure(response: aiohttp.ClientResponse, url: URL, wanted: Wanted, *, has_token: bool) -> FetchFailed:
    status = response.status
    if status in (401, 403):
        words = remedy(status, url, has_token=has_token)
    else:
        words = _REMEDIES.get(status) or escape(response.reason or "no reason given", limit=100)
    return FetchFailed(
        f"{wanted.what} could not be downloaded: {shown(url)} answered {status} ({words})",
        retryable=status in TRANSIENT or status >= 500,
    )


def _size(url: URL, total: int, wanted: Wanted) -> str:
    about = f", the claim names about {wanted.expected:,}" if wanted.expected else ""
    return f"{wanted.what}: {shown(url)} has {total:,} bytes{about}"


def _validator(response: aiohttp.ClientResponse) -> str:
    etag = response.headers.get("ETag", "").strip()
    if etag.startswith('"') and etag.endswith('"') and len(etag) <= 500:
        return etag
    changed = response.headers.get("Last-Modified", "").strip()
    return changed if len(changed) <= 100 else ""
