"""`data:` URLs (RFC 2397): an input that travels inside the claim. The size is known before anything is decoded."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from studio_worker.errors import FetchRefused

MAX_DATA_BYTES = 8 * 1024 * 1024
"""Bytes that a ``data:`` URL may carry once decoded, whatever the caller allows."""

MAX_HEAD = 1_000
"""Characters up to the comma."""

PIECE = 16 * 1024
"""Bytes that are unescaped in one step: an escape takes about a hundred bytes meanwhile."""

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+")


@dataclass(frozen=True, slots=True)
class DataUrl:
    """What a ``data:`` URL carries."""

    media_type: str
    data: bytes


def is_data_url(url: str) -> bool:
    """Whether `url` is meant as a ``data:`` URL."""
    return url[:5].lower() == "data:"


def decode(url: str, *, limit_bytes: int, what: str = "the data URL") -> DataUrl:
    """The bytes of a ``data:`` URL, base64 or percent-encoded. A long one full of escapes takes seconds: for a thread.

    Args:
        url: ``data:[type][;param=value]*[;base64],payload``.
        limit_bytes: the most bytes to decode; `MAX_DATA_BYTES` holds besides.
        what: what the URL is for, the subject of the refusal's sentence.

    Raises:
        FetchRefused: `data-url` for bad syntax or bad base64, `too-large` before decoding.
    """
    comma = url.find(",", 0, MAX_HEAD)
    if comma < 0:
        raise FetchRefused("data-url", f"{what} is a data URL without a comma")
    limit = min(limit_bytes, MAX_DATA_BYTES)
    media_type, *parameters = (part.strip() for part in url[5:comma].split(";"))
    if media_type and not _MEDIA_TYPE.fullmatch(media_type):
        raise FetchRefused("data-url", f"{what} is a data URL with a broken media type")
    as_base64 = bool(parameters) and parameters[-1].lower() == "base64"
    characters = len(url) - comma - 1 - 2 * url.count("%", comma)
    if characters > ((limit + 2) // 3 * 4 if as_base64 else limit):
        raise _too_large(limit, what)
    payload = _unescaped(url[comma + 1 :].encode("utf-8", "surrogatepass"))
    data = _from_base64(payload, what) if as_base64 else payload
    if len(data) > limit:
        raise _too_large(limit, what)
    return DataUrl(media_type.lower() or "text/plain", data)


def _unescaped(payload: bytes) -> bytes:
    if b"%" not in payload:
        return payload
    out = bytearray()
    at = 0
    while at < len(payload):
        end = at + PIECE
        if end < len(payload) and (cut := payload.rfind(b"%", end - 2, end)) > 0:
            end = cut
        out += unquote_to_bytes(payload[at:end])
        at = end
    return bytes(out)


def _from_base64(payload: bytes, what: str) -> bytes:
    digits = payload.rstrip(b"=")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except ValueError:
        raise FetchRefused("data-url", f"{what} is a data URL with bad base64") from None


def _too_large(limit: int, what: str) -> FetchRefused:
    return FetchRefused("too-large", f"{what} is a data URL of more than {limit:,} bytes; use a link instead")
