"""Reading the multipart form of a result: streamed to a file, every part bounded (protocol section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from studio_worker.studio.answers import BadField, Refusal
from studio_worker.studio.timings import Limits

_T = TypeVar("_T")
CHUNK = 256 * 1024
HEAD_BYTES = 64
TEXT_PARTS = ("prompt", "ext", "generationMeta", "attempt")


@dataclass(slots=True)
class UploadForm:
    """What a form held. `head` are the file's first 64 bytes."""

    size: int = 0
    head: bytes = b""
    texts: dict[str, str] = field(default_factory=dict)


async def read_form(request: web.Request, target: Path, limits: Limits, idle_secs: float) -> UploadForm:
    """Read the form, its file part `image` into `target`. The client's file name and type are not looked at.

    Args:
        request: the request, its body unread.
        target: an empty file.
        limits: bounds of the parts.
        idle_secs: how long nothing may come.

    Raises:
        Refusal: 400 for what is no such form, 413 for what is too large, 408 for what stalls.
    """
    allowed = limits.upload_bytes + limits.upload_parts * (limits.upload_text_bytes + 65_536)
    if request.content_length is not None and request.content_length > allowed:
        raise Refusal(413, f"the upload has {request.content_length:,} bytes, at most {allowed:,} are allowed")
    if not request.content_type.startswith("multipart/"):
        raise Refusal(400, "a multipart form is needed, with the result in a file part 'image'")
    form = UploadForm()
    has_file = False
    count = 0
    try:
        reader = await request.multipart()
        with await asyncio.to_thread(target.open, "wb") as file:
            while (part := await _in_time(_next(reader), idle_secs)) is not None:
                count += 1
                if count > limits.upload_parts:
                    raise Refusal(413, f"the form has more than {limits.upload_parts} parts")
                name = part.name
                if name == "image":
                    if has_file:
                        raise BadField("image", "the form has two such parts")
                    has_file = True
                    await _read_file(part, file, form, limits, idle_secs)
                else:
                    text = await _read_text(part, limits, idle_secs)
                    if name in TEXT_PARTS:
                        form.texts[name] = text
    except (ValueError, AssertionError, RuntimeError, HttpProcessingError) as error:
        raise Refusal(400, f"the multipart form is broken ({type(error).__name__})") from None
    if not has_file:
        raise BadField("image", "the form has no such file part")
    return form


async def _next(reader: MultipartReader) -> BodyPartReader | None:
    part = await reader.next()
    if part is None:
        return None
    if not isinstance(part, BodyPartReader):
        raise Refusal(400, "a form inside the form")
    encoding = part.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
    transfer = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "binary").lower()
    if encoding != "identity" or transfer not in ("binary", "8bit", "7bit"):
        raise Refusal(400, "parts must be sent as they are, without an encoding")
    return part


async def _in_time(ask: Awaitable[_T], secs: float) -> _T:
    try:
        async with asyncio.timeout(secs):
            return await ask
    except TimeoutError:
        raise Refusal(408, f"nothing came for {secs:g} s") from None


async def _read_file(part: BodyPartReader, file: BinaryIO, form: UploadForm, limits: Limits, idle_secs: float) -> None:
    while True:
        chunk = await _in_time(part.read_chunk(CHUNK), idle_secs)
        if not chunk:
            return
        if len(form.head) < HEAD_BYTES:
            form.head += chunk[: HEAD_BYTES - len(form.head)]
        form.size += len(chunk)
        if form.size > limits.upload_bytes:
            raise Refusal(413, f"the result has more than the {limits.upload_bytes:,} bytes that are allowed")
        await asyncio.to_thread(file.write, chunk)


async def _read_text(part: BodyPartReader, limits: Limits, idle_secs: float) -> str:
    data = bytearray()
    while chunk := await _in_time(part.read_chunk(65_536), idle_secs):
        data += chunk
        if len(data) > limits.upload_text_bytes:
            raise Refusal(413, f"a text part has more than the {limits.upload_text_bytes:,} bytes that are allowed")
    return data.decode("utf-8", "replace")
