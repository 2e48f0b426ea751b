"""The outer structure of MP4 and WebM files, walked without a decoder (ISO/IEC 14496-12, section 4; RFC 8794)."""

from __future__ import annotations

from typing import BinaryIO

_MAX_PARTS = 100_000
_EBML = 0x1A45DFA3
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_TRACKS = 0x1654AE6B


class BadFilm(ValueError):
    """The file is not whole; the message says what is missing."""


def check_mp4(file: BinaryIO, size: int) -> None:
    """Whether an MP4 file has its index (``moov``) and sound or pictures (``mdat``), none of them cut.

    Args:
        file: open at its start.
        size: bytes of the whole file.

    Raises:
        BadFilm: a part is missing, or the file ends before its last part does.
    """
    position, found = 0, set()
    for _ in range(_MAX_PARTS):
        if position == size:
            break
        file.seek(position)
        head = file.read(16)
        length, name = int.from_bytes(head[:4]), head[4:8]
        header = 8
        if length == 1:
            length, header = int.from_bytes(head[8:16]), 16
        elif length == 0:
            length = size - position
        if len(head) < header or length < header or position + length > size:
            raise BadFilm("is cut")
        if length > header:
            found.add(name)
        position += length
    for name, what in ((b"moov", "index"), (b"mdat", "pictures")):
        if name not in found:
            raise BadFilm(f"has no {what}")


def check_webm(file: BinaryIO, size: int) -> None:
    """Whether a WebM file has its tracks and a cluster of pictures.

    Args:
        file: open at its start.
        size: bytes of the whole file.

    Raises:
        BadFilm: a part is missing, or lies past the end of the file.
    """
    found: set[int] = set()
    position = 0
    for _ in range(_MAX_PARTS):
        if position >= size or {_TRACKS, _CLUSTER} <= found:
            break
        file.seek(position)
        identity, length = _number(file, keeps_marker=True), _number(file, keeps_marker=False)
        found.add(identity)
        start = file.tell()
        # The segment holds everything else, so that the walk goes on inside it; live writers leave lengths open.
        position = start if identity == _SEGMENT else start + length
        if start + length > size:
            raise BadFilm("is cut")
    for identity, what in ((_EBML, "head"), (_SEGMENT, "segment"), (_TRACKS, "tracks"), (_CLUSTER, "pictures")):
        if identity not in found:
            raise BadFilm(f"has no {what}")


def _number(file: BinaryIO, *, keeps_marker: bool) -> int:
    """A number of EBML: its first set bit says how many bytes it has. An unknown length is all that there is."""
    first = file.read(1)
    if not first or not first[0]:
        raise BadFilm("is cut, or no WebM file")
    count = 9 - first[0].bit_length()
    rest = file.read(count - 1)
    if len(rest) < count - 1:
        raise BadFilm("is cut")
    value = int.from_bytes(first + rest)
    if keeps_marker:
        return value
    value &= (1 << 7 * count) - 1
    return 0 if value == (1 << 7 * count) - 1 else value
