"""The chunks of a PNG file, walked without a decoder (PNG specification, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 33
"""Signature and first chunk, which says what the picture is."""

_HEADER = struct.Struct(">I4s")
_MAX_CHUNKS = 1_000_000

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""By colour type: grey, RGB, palette, grey and alpha, RGB and alpha (section 11.2.1)."""


class BadPng(ValueError):
    """The file is not whole; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class PngPlan:
    """What a PNG file says of its picture, and where the picture lies.

    Attributes:
        width: pixels.
        height: pixels.
        depth: bits of one value.
        channels: values of one pixel.
        has_alpha: whether the last of them says how opaque the pixel is.
        has_palette: whether the value is a number in a list of colours.
        is_interlaced: whether it comes in seven passes.
        data: offset and length in bytes of each piece of picture data.
    """

    width: int
    height: int
    depth: int
    channels: int
    has_alpha: bool
    has_palette: bool
    is_interlaced: bool
    data: tuple[tuple[int, int], ...]

    @property
    def is_plain(self) -> bool:
        """Whether each pixel takes whole bytes that are its colour, and rows come in order, once."""
        return self.depth >= 8 and not self.has_palette and not self.is_interlaced

    @property
    def row_bytes(self) -> int:
        """Bytes of a row once inflated, with the one that names its filter."""
        return 1 + (self.width * self.channels * self.depth + 7) // 8


def read_png(file: BinaryIO, size: int) -> PngPlan:
    """The plan of a PNG file that is whole: a sound header, picture data, an end.

    The sums of the picture data are not looked at: what an engine has just written was not changed on its way.

    Args:
        file: open at its start.
        size: bytes of the whole file.

    Raises:
        BadPng: what begins as a PNG file is cut, or is none.
    """
    head = _head(file.read(HEAD_BYTES))
    return PngPlan(*head, _picture_data(file, size))


def plain_bytes(head: bytes) -> int | None:
    """How many bytes a picture's rows take once unpacked; None where they can't be read as they come.

    Args:
        head: the file's first `HEAD_BYTES`.
    """
    try:
        plan = PngPlan(*_head(head), ())
    except BadPng:
        return None
    return plan.row_bytes * plan.height if plan.is_plain else None


def _head(head: bytes) -> tuple[int, int, int, int, bool, bool, bool]:
    """What a plan says before its data."""
    if not head.startswith(SIGNATURE):
        raise BadPng("does not begin as a PNG file does")
    name, body = head[8:16], head[12:29]
    if len(head) < HEAD_BYTES or name != b"\x00\x00\x00\rIHDR" or zlib.crc32(body) != int.from_bytes(head[29:]):
        raise BadPng("has no sound header")
    width, height, depth, colour, packing, filtering, interlace = struct.unpack_from(">IIBBBBB", head, 16)
    if depth not in _DEPTHS.get(colour, ()) or packing or filtering or interlace > 1:
        raise BadPng("has a header that no picture has")
    has_alpha, has_palette = colour in (4, 6), colour == 3
    return width, height, depth, _CHANNELS[colour], has_alpha, has_palette, interlace == 1


def _picture_data(file: BinaryIO, size: int) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    position = file.tell()
    for _ in range(_MAX_CHUNKS):
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            break
        length, name = _HEADER.unpack(header)
        start = position + _HEADER.size
        position = start + length + 4
        if position > size:
            break
        if name == b"IEND":
            if not found:
                raise BadPng("holds no picture")
            return tuple(found)
        if name == b"IDAT" and length:
            found.append((start, length))
        file.seek(position)
    raise BadPng("is cut before its end")
