"""The chunks of a PNG file, walked without a decoder (PNG specification, third edition, section 5)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4s")
_MAX_CHUNKS = 1_000_000


class BadPng(ValueError):
    """The file is not whole; the message says what is missing."""


def read_png_size(file: BinaryIO, size: int) -> tuple[int, int]:
    """Width and height in pixels of a PNG file that is whole: a sound header, picture data, an end.

    The sums of the picture data are not looked at: what an engine has just written was not changed on its way.

    Args:
        file: open at its start.
        size: bytes of the whole file.

    Raises:
        BadPng: what begins as a PNG file is cut, or is none.
    """
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise BadPng("does not begin as a PNG file does")
    head = file.read(25)
    if len(head) < 25 or head[:8] != b"\x00\x00\x00\rIHDR" or zlib.crc32(head[4:21]) != int.from_bytes(head[21:]):
        raise BadPng("has no sound header")
    width, height = struct.unpack_from(">II", head, 8)
    has_data = False
    position = len(SIGNATURE) + len(head)
    for _ in range(_MAX_CHUNKS):
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            break
        length, name = _HEADER.unpack(header)
        position += _HEADER.size + length + 4
        if position > size:
            break
        if name == b"IEND":
            if not has_data:
                raise BadPng("holds no picture")
            return width, height
        has_data |= name == b"IDAT" and length > 0
        file.seek(position)
    raise BadPng("is cut before its end")
