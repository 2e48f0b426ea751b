"""Reading bodies and query parameters, with bounds."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from studio_worker.studio.answers import BadField, Refusal
from studio_worker.wire import strict_json
from studio_worker.wire.claims import is_job_id


async def read_json(request: web.Request, limit: int, secs: float) -> dict[str, Any]:
    """The JSON object of a request's body.

    Args:
        request: the request.
        limit: bytes allowed.
        secs: time for the whole of it.

    Raises:
        Refusal: 413 too large, 408 too slow, 400 not an object of JSON.
    """
    body = await _read(request, limit, secs)
    try:
        value = strict_json.loads(body)
    except strict_json.NotJson as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object")
    return value


async def read_field(request: web.Request, name: str, limit: int, secs: float) -> str:
    """A field of a page's form (`application/x-www-form-urlencoded`); empty where it has none, or is no such form.

    Args:
        request: the request.
        name: of the field.
        limit: bytes allowed for the whole form.
        secs: time for the whole of it.

    Raises:
        Refusal: 413 too large, 408 too slow.
    """
    body = await _read(request, limit, secs)
    return parse_qs(body.decode(errors="replace")).get(name, [""])[0]


async def _read(request: web.Request, limit: int, secs: float) -> bytes:
    if request.content_length is not None and request.content_length > limit:
        raise Refusal(413, f"the body has {request.content_length:,} bytes, at most {limit:,} are allowed")
    body = bytearray()
    try:
        async with asyncio.timeout(secs):
            async for chunk in request.content.iter_chunked(65_536):
                body += chunk
                if len(body) > limit:
                    raise Refusal(413, f"the body has more than the {limit:,} bytes that are allowed")
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {secs:g} s") from None
    return bytes(body)


def whole_parameter(request: web.Request, name: str, default: int | None, low: int, high: int) -> int | None:
    """A whole number of the query, or `default` where it is absent. Raises BadField."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and low <= int(text) <= high):
        raise BadField(name, f"must be a whole number from {low} to {high}")
    return int(text)


def limit_parameter(request: web.Request, default: int = 100) -> int:
    """`?limit=`, 1 to 1,000."""
    found = whole_parameter(request, "limit", default, 1, 1_000)
    return default if found is None else found


def text_parameter(request: web.Request, name: str) -> str | None:
    """A short text of the query. Raises BadField for NULs and the like."""
    text = request.query.get(name)
    if text is not None and (not text.isprintable() or len(text) > 256):
        raise BadField(name, "must be a short text without control characters")
    return text or None


def job_id_of(request: web.Request) -> str:
    """The job id of the path. Raises a 400 where it breaks the rule of the protocol."""
    job_id = request.match_info["job_id"]
    if not is_job_id(job_id):
        raise BadField("jobId", "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
    return job_id
