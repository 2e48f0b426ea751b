"""Toxics that know frames and requests: a connection is cut at a frame, in the middle of one, or in an upload.

::

    proxy.toxics = [CutFrame(way="up", number=3)]                       # after the third frame, once
    proxy.toxics = [CutFrame(way="up", type="completeJson", at=17)]     # 17 bytes into that frame
    proxy.toxics = [CutRequest("/complete", at=900)]                    # 900 bytes into an upload
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from studio_worker.testing.toxics import CutHere, Stream

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """One WebSocket frame as it travels. `raw` is all of it, `text` its payload unmasked ("" unless it is text)."""

    raw: bytes
    text: str

    @property
    def type(self) -> str:
        """The message's ``type``; empty for control frames and for what is no JSON object."""
        try:
            fields = json.loads(self.text)
        except ValueError:
            return ""
        return str(fields.get("type", "")) if isinstance(fields, dict) else ""


@dataclass(slots=True)
class CutFrame:
    """Cut, once, the first connection that carries the frame.

    Attributes:
        way: whose frames are looked at.
        number: the frame to cut at, counted from 1 in its connection; 0 for any.
        type: the type of message to cut at; empty for any.
        at: bytes of the frame that still pass; None for all of it.
        by_reset: by RST, else by FIN.
        is_done: whether the cut was made.
    """

    way: Literal["up", "down"]
    number: int = 0
    type: str = ""
    at: int | None = None
    by_reset: bool = True
    is_done: bool = False
    _readers: dict[int, _FrameReader] = field(default_factory=dict)

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """Pass whole frames; what is before the cut goes with `CutHere`."""
        reader = self._readers.setdefault(stream.connection, _FrameReader())
        passed = bytearray()
        for piece in reader.read(data):
            if isinstance(piece, bytes):
                passed += piece
            elif self.is_done or not self._is_meant(piece, reader.count):
                passed += piece.raw
            else:
                self.is_done = True
                stream.note(f"cut {self.way} frame {reader.count} {piece.type} at {self.at}")
                raise CutHere(bytes(passed) + piece.raw[: self.at], by_reset=self.by_reset)
        return (bytes(passed),) if passed else ()

    def _is_meant(self, frame: Frame, count: int) -> bool:
        return self.number in (0, count) and self.type in ("", frame.type)


@dataclass(slots=True)
class CutRequest:
    """Cut, once, the first connection on which an HTTP request to a path comes.

    Attributes:
        path: a part of the request's path.
        at: bytes of the request, its head included, that still pass.
        way: ``up``, always.
        by_reset: by RST, else by FIN.
        is_done: whether the cut was made.
    """

    path: str
    at: int
    way: Literal["up"] = "up"
    by_reset: bool = True
    is_done: bool = False
    _left: dict[int, int] = field(default_factory=dict)

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """Pass what is before the cut."""
        if self.is_done:
            return (data,)
        if stream.connection not in self._left:
            line = data.partition(b"\r\n")[0]
            if not line.endswith(b" HTTP/1.1") or self.path.encode() not in line:
                return (data,)
            self._left[stream.connection] = self.at
        left = self._left[stream.connection]
        if len(data) < left:
            self._left[stream.connection] = left - len(data)
            return (data,)
        self.is_done = True
        stream.note(f"cut request {self.path} at {self.at}")
        raise CutHere(data[:left], by_reset=self.by_reset)


@dataclass(slots=True)
class Listen:
    """Change nothing, and keep what passes: HTTP as it comes, and of each frame its text unmasked.

    Attributes:
        way: whose words are kept.
        heard: what was said, by connection and in its order.
    """

    way: Literal["up", "down"]
    heard: dict[int, list[bytes]] = field(default_factory=dict)
    _readers: dict[int, _FrameReader] = field(default_factory=dict)

    async def pass_on(self, data: bytes, stream: Stream) -> Sequence[bytes]:
        """Pass everything."""
        reader = self._readers.setdefault(stream.connection, _FrameReader())
        said = self.heard.setdefault(stream.connection, [])
        for piece in reader.read(data):
            said.append(piece if isinstance(piece, bytes) else piece.text.encode() or piece.raw)
        return (data,)


class _FrameReader:
    """Splits one way of one connection into HTTP and, after an upgrade, frames; HTTP bytes go on as they come."""

    def __init__(self) -> None:
        self.count = 0
        self._buffer = b""
        self._is_open = False

    def read(self, data: bytes) -> Iterator[bytes | Frame]:
        """What is whole by now; an unfinished frame waits for its rest."""
        if not self._is_open:
            # Requests before the upgrade may use the same connection. Its own head comes in one piece on loopback.
            head, end, rest = data.partition(_HEAD_END)
            if not end or b"upgrade: websocket" not in head.lower():
                yield data
                return
            self._is_open, data = True, rest
            yield head + end
        self._buffer += data
        while (frame := self._next()) is not None:
            self.count += 1
            yield frame

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 0x7F, 2
        if length > 125:
            width = 2 if length == 126 else 8
            if len(buffer) < start + width:
                return None
            length, start = int.from_bytes(buffer[start : start + width], "big"), start + width
        masked = bool(buffer[1] & 0x80)
        end = start + 4 * masked + length
        if len(buffer) < end:
            return None
        payload = buffer[end - length : end]
        if masked:
            payload = _unmasked(payload, buffer[start : start + 4])
        raw, self._buffer = buffer[:end], buffer[end:]
        return Frame(raw, payload.decode(errors="replace") if raw[0] & 0x0F == 1 else "")


def _unmasked(data: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")
