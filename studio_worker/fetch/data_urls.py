"""`data:` URLs (RFC 2397): an input that travels inside the claim. The size is known before anything is decoded."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from studio_worker.errors import FetchRefused

MAX_DATA_BYTES = 8 * 1024 * 1024
"""Bytes that a ``data:`` URL may carry once decoded, whatever the caller allows."""

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
    """The bytes of a ``data:`` URL, base64 or percent-encoded.

    Args:
        url: ``data:[type][;param=value]*[;base64],payload``.
        limit_bytes: the most bytes to decode; `MAX_DATA_BYTES` holds besides.
        what: what the URL is for, the subject of the refusal's sentence.

    Raises:
        FetchRefused: `data-url` for bad syntax or bad base64, `too-large` before decoding.
    """
    head, comma, payload = url[5:].partition(",")
    if not comma:
        raise FetchRefused("data-url", f"{what} is a data URL without a comma")
    limit = min(limit_bytes, MAX_DATA_BYTES)
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if media_type and not _MEDIA_TYPE.fullmatch(media_type):
        raise FetchRefused("data-url", f"{what} is a data URL with a broken media type")
    media_type = media_type.lower() or "text/plain"
    if not (parameters and parameters[-1].lower() == "base64"):
        return DataUrl(media_type, _percent(payload, limit, what))
    return DataUrl(media_type, _base64(payload, limit, what))


def _percent(payload: str, limit: int, what: str) -> bytes:
    if len(payload) - 2 * payload.count("%") > limit:
        raise _too_large(limit, what)
    data = unquote_to_bytes(payload.encode("utf-8", "surrogatepass"))
    if len(data) > limit:
        raise _too_large(limit, what)
    return data


def _base64(payload: str, limit: int, what: str) -> bytes:
    if len(payload) - 2 * payload.count("%") > (limit + 2) // 3 * 4 + 4:
        raise _too_large(limit, what)
    if not payload.isascii():
        raise FetchRefused("data-url", f"{what} is a data URL with bad base64")
    digits = unquote_to_bytes(payload).rstrip(b"=")
    try:
        data = base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise FetchRefused("data-url", f"{what} is a data URL with bad base64") from None
    if len(data) > limit:
        raise _too_large(limit, what)
    return data


def _too_large(limit: int, what: str) -> FetchRefused:
    return FetchRefused("too-large", f"{what} is a data URL of more than {limit:,} bytes; use a link instead")
