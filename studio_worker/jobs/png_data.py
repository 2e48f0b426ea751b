"""The picture data of a PNG file, unpacked a piece at a time (RFC 1950, RFC 1951)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from studio_worker.jobs.png_chunks import BadPng, PngPlan

_IN_BYTES = 64 * 1024
_OUT_BYTES = 32 * 1024
"""Pieces that stay in the nearer memory of a processor; a megabyte at once takes half as long again."""

_ZLIB_HEAD_BYTES = 2
_HEADER = struct.Struct("<BHH")
"""Of a stored block: three bits and their padding, its length, and that with every bit turned."""


_MAX_PIECES = 65_536
"""Of a gibibyte, where they are as long as encoders make them."""


class NotStored(Exception):
    """Some of the data is compressed, or it is broken, or cut into crumbs: `inflated` copes with all of that."""


def stored(file: bytes, plan: PngPlan) -> list[tuple[int, int]]:
    """Where the data lies in a file whose writer stored it as it is, because it is noise or time was short.

    Returns:
        From where to where, piece by piece.

    Raises:
        NotStored: it is not stored, or not all of it.
    """
    first, first_bytes = plan.data[0]
    if first_bytes < _ZLIB_HEAD_BYTES or not _is_zlib_head(file[first : first + _ZLIB_HEAD_BYTES]):
        raise NotStored
    found: list[tuple[int, int]] = []
    cut, left, is_last = b"", 0, False
    skipped = _ZLIB_HEAD_BYTES
    for start, length in plan.data:
        at, end = start + skipped, start + length
        skipped = 0
        while at < end:
            if not left:
                if is_last:
                    return found
                header = cut + file[at : min(at + _HEADER.size - len(cut), end)]
                at += len(header) - len(cut)
                if len(header) < _HEADER.size:
                    cut = header
                    break
                cut = b""
                # Blocks of this kind end where a byte does, so the next one's first three bits begin the next byte.
                flags, left, turned = _HEADER.unpack(header)
                if flags & 0b110 or left ^ turned != 0xFFFF or len(found) >= _MAX_PIECES:
                    raise NotStored
                is_last = bool(flags & 1)
            stop = min(at + left, end)
            found.append((at, stop))
            left -= stop - at
            at = stop
    if left or not is_last:
        raise NotStored
    return found


def inflated(file: BinaryIO, plan: PngPlan) -> Iterator[bytes]:
    """Data of any form.

    Raises:
        BadPng: it is broken, or ends too early.
    """
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        for piece in _deflated(file, plan):
            yield from _inflate(inflater, piece)
            if inflater.eof:
                return
    except zlib.error:
        raise BadPng("holds picture data that is broken") from None
    raise BadPng("holds less picture than its header says")


def _deflated(file: BinaryIO, plan: PngPlan) -> Iterator[bytes]:
    """What follows the two bytes of zlib's head (RFC 1950, section 2.2): deflate, a window of at most 32 KiB."""
    pieces = _pieces(file, plan)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) > _ZLIB_HEAD_BYTES:
            break
    if not _is_zlib_head(head):
        raise BadPng("holds picture data that is broken")
    yield head[_ZLIB_HEAD_BYTES:]
    yield from pieces


def _is_zlib_head(head: bytes) -> bool:
    method, flags = head[0], head[1] if len(head) > 1 else 0
    return method & 0x0F == zlib.DEFLATED and method >> 4 <= 7 and not ((method * 256 + flags) % 31 or flags & 0x20)


def _pieces(file: BinaryIO, plan: PngPlan) -> Iterator[bytes]:
    for start, length in plan.data:
        file.seek(start)
        while length:
            piece = file.read(min(length, _IN_BYTES))
            if not piece:
                raise BadPng("is cut inside its picture")
            length -= len(piece)
            yield piece


def _inflate(inflater: zlib._Decompress, piece: bytes) -> Iterator[bytes]:
    while True:
        out = inflater.decompress(piece, _OUT_BYTES)
        yield out
        piece = inflater.unconsumed_tail
        # A full answer may have a rest that the inflater holds back, also where it has eaten all of its input.
        if inflater.eof or (not piece and len(out) < _OUT_BYTES):
            return
