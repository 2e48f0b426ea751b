"""What the first bytes of a picture say of it, read before any decoder is let near it.

A decoder sets memory aside by what a header claims, some of them as soon as they open a file. So the size is read here,
from the four formats that are taken: PNG (third edition, section 11.2.1), JPEG (ITU-T T.81, annex B), WebP (RFC 9649,
section 2) and GIF (GIF89a, section 18).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias

Format: TypeAlias = Literal["PNG", "JPEG", "WEBP", "GIF"]

MAX_PICTURE_SIDE = 65_535
"""The longest side that JPEG and GIF can hold: a line of pixels that is longer is no picture."""

_PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_MAX_SEGMENTS = 10_000
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's markers of a frame; the three that are left out hold tables (T.81, table B.1)."""

_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""JPEG's markers without a length."""


class UnknownPicture(ValueError):
    """The file is in none of the four formats, or ends before it has told its size."""


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a picture says of itself.

    Attributes:
        format: by its first bytes, and the name that Pillow has for it.
        width: pixels, as stored: a camera's orientation is not applied.
        height: pixels.
        depth: bits of one value.
    """

    format: Format
    width: int
    height: int
    depth: int = 8


def read_picture_header(file: BinaryIO) -> PictureHeader:
    """The header of a picture.

    Args:
        file: open at its start.

    Raises:
        UnknownPicture: no PNG, JPEG, WebP or GIF file, or one without a size.
    """
    head = file.read(32)
    if len(head) >= 25 and head.startswith(_PNG_HEAD):
        return PictureHeader("PNG", int.from_bytes(head[16:20]), int.from_bytes(head[20:24]), head[24])
    if len(head) >= 13 and head.startswith((b"GIF87a", b"GIF89a")):
        return PictureHeader("GIF", int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    if len(head) >= 30 and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return PictureHeader("WEBP", *_webp_size(head))
    if head.startswith(b"\xff\xd8\xff"):
        file.seek(2)
        return _jpeg(file)
    raise UnknownPicture


def _webp_size(head: bytes) -> tuple[int, int]:
    match head[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            # The two upper bits of each side are a scale, which decoders leave to whoever shows the picture.
            return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    raise UnknownPicture


def _jpeg(file: BinaryIO) -> PictureHeader:
    for _ in range(_MAX_SEGMENTS):
        fill = file.read(1)
        marker = file.read(1)
        while marker == b"\xff":
            marker = file.read(1)
        if fill != b"\xff" or not marker:
            break
        if marker[0] in _ALONE:
            continue
        length = int.from_bytes(file.read(2))
        if marker[0] in _FRAMES:
            frame = file.read(5)
            if len(frame) < 5:
                break
            return PictureHeader("JPEG", int.from_bytes(frame[3:5]), int.from_bytes(frame[1:3]), frame[0])
        if length < 2 or marker[0] == 0xDA:
            break
        file.seek(length - 2, 1)
    raise UnknownPicture
