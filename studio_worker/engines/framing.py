"""The language of the pipe between the worker and a child: JSON objects, each after its length in four bytes.

Big-endian, UTF-8, at most 16 MiB a frame. Nothing is ever unpickled. Imports nothing heavy: the child uses it too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import asyncio

MAX_FRAME_BYTES = 16 * 1024 * 1024

_LENGTH_BYTES = 4


class BrokenFrame(ValueError):
    """What came through the pipe is no frame; the other side cannot be understood any more."""


def pack(message: dict[str, Any]) -> bytes:
    """One frame.

    Raises:
        BrokenFrame: the message is over 16 MiB.
    """
    body = json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a message of {len(body):,} bytes is too long; at most {MAX_FRAME_BYTES:,} are allowed")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def read_frame(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next message, waiting for it; None at the pipe's end.

    Raises:
        BrokenFrame: the pipe ends inside a frame, or carries something else.
    """
    head = pipe.read(_LENGTH_BYTES)
    if not head:
        return None
    body = pipe.read(_length(head))
    if len(body) != int.from_bytes(head, "big"):
        raise BrokenFrame("the pipe ended inside a message")
    return _message(body)


async def receive_frame(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """`read_frame` for the event loop."""
    # A child has no event loop, and asyncio would be most of what it takes to start.
    from asyncio import IncompleteReadError

    try:
        head = await reader.readexactly(_LENGTH_BYTES)
        return _message(await reader.readexactly(_length(head)))
    except IncompleteReadError as end:
        if end.partial or end.expected != _LENGTH_BYTES:
            raise BrokenFrame("the pipe ended inside a message") from None
        return None


def _length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    if len(head) != _LENGTH_BYTES or not 0 < length <= MAX_FRAME_BYTES:
        raise BrokenFrame("the pipe carries something that is no message")
    return length


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise BrokenFrame("the pipe carries a message that is no JSON") from None
    if not isinstance(message, dict):
        raise BrokenFrame("the pipe carries a message that is no object")
    return message
