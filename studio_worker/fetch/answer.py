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
from studio_worker.fetch.resumable_file import Note
from studio_worker.fetch.wanted import WantedFile
from studio_worker.text import escape

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII | re.IGNORECASE)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,500}"', re.ASCII)
PAGES = frozenset({"text/html", "application/xhtml+xml"})
"""Media types of web pages, which a gateway or a captive portal sends in place of what was asked for."""
_REMEDIES = {
    404: "nothing is there; check the URL",
    410: "it is gone for good; name another URL",
    451: "it is withheld for legal reasons; name another URL or a mirror (model_mirrors)",
}


class BadStatus(FetchFailed):
    """An answer that is no file.

    Args:
        message: the sentence for people.
        status: the status.
        retry_after: the header as it was sent, None where there is none.
    """

    def __init__(self, message: str, *, status: int, retry_after: str | None) -> None:
        super().__init__(message, retryable=status in TRANSIENT or status >= 500)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read.

    Attributes:
        start: the byte of the file that its body begins with.
        total: bytes of the whole file, None where it does not say.
        validator: a strong ETag or else the date of the last change; empty: none.
        restart: why the part cannot be continued; empty: it can, or there is none.
        is_complete: the part is the whole file.
        has_end: it is said where the file ends, so that neither a connection that breaks nor the end of a range can
            pass for it.
    """

    start: int = 0
    total: int | None = None
    validator: str = ""
    restart: str = ""
    is_complete: bool = False
    has_end: bool = True


def read_answer(response: aiohttp.ClientResponse, have: int, note: Note | None = None) -> Answer:
    """What `response` says.

    Args:
        response: to a request for everything, or for the bytes from `have` on.
        have: bytes that are here already; 0: everything was asked for.
        note: what those are a part of.
    """
    said = response.headers.get("Content-Range", "")
    if response.status == 206:
        found = _RANGE.fullmatch(said.strip())
        if found is None or int(found[1]) != have or int(found[2]) < have:
            return Answer(restart=f"the server sent {escape(said, limit=80)!r} for the bytes from {have:,} on")
        # With `*` the range ends somewhere, and the file where only an earlier answer has said.
        known = note.total if note is not None else None
        total = known if found[3] == "*" else int(found[3])
        if total is None and (note is None or note.sha256 is None):
            return Answer(restart="the server does not say where the file ends that it sent a range of")
        answer = Answer(have, total, _validator(response), has_end=total is not None)
        is_beyond = total is not None and int(found[2]) >= total
        if is_beyond or (note is not None and _is_another(note, answer)):
            return Answer(restart="the file on the server is another one than before")
        return answer
    if response.status == 416 and have:
        whole = _UNSATISFIED.fullmatch(said.strip())
        if whole is not None and int(whole[1]) == have:
            return Answer(have, have, is_complete=True)
        return Answer(restart="the server has fewer bytes than are here already")
    is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    has_end = is_chunked or response.content_length is not None
    return Answer(0, response.content_length, _validator(response), has_end=has_end)


def _is_another(note: Note, answer: Answer) -> bool:
    """Whether a range belongs to another file than the part, though the server was told which one was meant."""
    if None not in (note.total, answer.total) and note.total != answer.total:
        return True
    return note.validator.startswith('"') and answer.validator.startswith('"') and note.validator != answer.validator


def check_answer(
    response: aiohttp.ClientResponse, url: URL, answer: Answer, wanted: WantedFile, *, has_token: bool
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
    if "Content-Type" in response.headers and response.content_type.lower() in PAGES:
        raise FetchRefused(
            "not-a-model", f"{wanted.what}: {shown(url)} is not a model: {response.content_type.lower()}"
        )
    if not answer.has_end and wanted.sha256 is None:
        raise FetchRefused(
            "no-length",
            f"{wanted.what}: {shown(url)} does not say how long it is, and no SHA-256 says when it is whole",
        )
    if answer.total is not None and answer.total > wanted.largest:
        raise FetchRefused("too-large", _size(url, answer.total, wanted))
    if answer.total is not None and answer.total < wanted.smallest:
        raise FetchRefused("too-small", _size(url, answer.total, wanted))


def _failure(response: aiohttp.ClientResponse, url: URL, wanted: WantedFile, *, has_token: bool) -> BadStatus:
    status = response.status
    if status in (401, 403):
        words = remedy(status, url, has_token=has_token)
    else:
        words = _REMEDIES.get(status) or escape(response.reason or "no reason given", limit=100)
    return BadStatus(
        f"{wanted.what} could not be downloaded: {shown(url)} answered {status} ({words})",
        status=status,
        retry_after=response.headers.get("Retry-After"),
    )


def _size(url: URL, total: int, wanted: WantedFile) -> str:
    about = f", the claim names about {wanted.expected:,}" if wanted.expected else ""
    return f"{wanted.what}: {shown(url)} has {total:,} bytes{about}"


def _validator(response: aiohttp.ClientResponse) -> str:
    """What the server knows the file by, if it can be sent back as it is."""
    etag = response.headers.get("ETag", "").strip()
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    changed = response.headers.get("Last-Modified", "").strip()
    return changed if len(changed) <= 100 and changed.isascii() and changed.isprintable() else ""
