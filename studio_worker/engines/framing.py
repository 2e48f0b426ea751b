"""The language of the pipe between the worker and a child: JSON objects, each after its length in four bytes.

Big-endian, UTF-8, at most 16 MiB a frame on the way up, 256 MiB on the way down. Nothing is ever unpickled. Imports
nothing heavy: the child uses it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The longest frame that is taken from a child."""

MAX_ORDER_BYTES = 256 * 1024 * 1024
"""The longest frame that a child takes from its worker: a conversation of four million characters fits."""

_LENGTH_BYTES = 4


class BrokenFrame(ValueError):
    """What came through the pipe is no frame; the other side cannot be understood any more."""


def pack(message: dict[str, Any], *, limit: int = MAX_FRAME_BYTES) -> bytes:
    """One frame.

    Raises:
        BrokenFrame: the message is longer than `limit` bytes.
    """
    body = json.dumps(message, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > limit:
        raise BrokenFrame(f"a message of {len(body):,} bytes is too long; at most {limit:,} are allowed")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def read_frame(pipe: BinaryIO, *, limit: int = MAX_FRAME_BYTES) -> dict[str, Any] | None:
    """The next message, waiting for it; None at the pipe's end.

    Raises:
        BrokenFrame: the pipe ends inside a frame, or carries something else.
    """
    head = pipe.read(_LENGTH_BYTES)
    if not head:
        return None
    body = pipe.read(_length(head, limit))
    if len(body) != int.from_bytes(head, "big"):
        raise BrokenFrame("the pipe ended inside a message")
    return _message(body)


class FrameReader:
    """`read_frame` for bytes that come as they come: fed piece by piece, it hands on what is complete.

    Nothing is reserved for a frame before its bytes are here.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are complete with `data`.

        Raises:
            BrokenFrame: what came is no frame.
        """
        self._kept += data
        start = 0
        try:
            while len(self._kept) - start >= _LENGTH_BYTES:
                end = start + _LENGTH_BYTES + _length(self._kept[start : start + _LENGTH_BYTES])
                if len(self._kept) < end:
                    break
                body = bytes(self._kept[start + _LENGTH_BYTES : end])
                start = end
                yield _message(body)
        finally:
            del self._kept[:start]

    def close(self) -> None:
        """The pipe has ended.

        Raises:
            BrokenFrame: inside a frame.
        """
        if self._kept:
            raise BrokenFrame("the pipe ended inside a message")


def _length(head: bytes | bytearray, limit: int = MAX_FRAME_BYTES) -> int:
    length = int.from_bytes(head, "big")
    if len(head) != _LENGTH_BYTES or not 0 < length <= limit:
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
