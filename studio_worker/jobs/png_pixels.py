"""The pixels of a PNG file, counted and looked at while they are inflated, and never held.

A decoder would turn a megabyte of picture into several megabytes of memory only to answer two questions: is all of it
there, and is there anything to see. Both can be read off the inflated rows (PNG specification, third edition,
sections 9 and 10): their number, and whether each is what its filter makes of a black or clear row. No sum is taken:
what an engine has just written was not changed on its way, and the sum of a megabyte costs as much as inflating it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from studio_worker.jobs.png_chunks import BadPng, PngPlan

_IN_BYTES = 64 * 1024
_OUT_BYTES = 32 * 1024
"""Pieces that stay in the nearer memory of a processor; a megabyte at once takes half as long again."""

_LAST_FILTER = 4


def read_pixels(file: BinaryIO, plan: PngPlan) -> bool:
    """Inflate the picture; whether there is nothing to see: all of it is equally black, or wholly transparent.

    A black drawing on a transparent ground is something: its pixels are black, but not equally opaque. A few rows are
    held, whatever the file says of itself.

    Args:
        file: the file that the plan was read from.
        plan: of a picture that `is_plain`.

    Raises:
        BadPng: the data is broken, or is not as many rows as the header says.
    """
    rows = _Rows(plan)
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        for piece in _deflated(_pieces(file, plan)):
            _inflate(inflater, piece, rows)
            if inflater.eof:
                break
    except zlib.error:
        raise BadPng("holds picture data that is broken") from None
    if not inflater.eof or rows.missing:
        raise BadPng("holds less picture than its header says")
    return rows.show_nothing


def _pieces(file: BinaryIO, plan: PngPlan) -> Iterator[bytes]:
    """The picture data, a piece at a time."""
    for start, length in plan.data:
        file.seek(start)
        while length:
            piece = file.read(min(length, _IN_BYTES))
            if not piece:
                raise BadPng("is cut inside its picture")
            length -= len(piece)
            yield piece


def _deflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What follows the two bytes of zlib's head (RFC 1950, section 2.2): deflate, a window of at most 32 KiB."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) > 2:
            break
    method, flags = head[0], head[1] if len(head) > 1 else 0
    if method & 0x0F != zlib.DEFLATED or method >> 4 > 7 or (method * 256 + flags) % 31 or flags & 0x20:
        raise BadPng("holds picture data that is broken")
    yield head[2:]
    yield from pieces


def _inflate(inflater: zlib._Decompress, piece: bytes, rows: _Rows) -> None:
    while True:
        out = inflater.decompress(piece, _OUT_BYTES)
        rows.take(out)
        piece = inflater.unconsumed_tail
        # A full answer may have a rest that the inflater holds back, also where it has eaten all of its input.
        if inflater.eof or (not piece and len(out) < _OUT_BYTES):
            return


class _Rows:
    """Rows as they come: counted, their filters checked, looked at for as long as there was nothing to see."""

    def __init__(self, plan: PngPlan) -> None:
        self._stride = plan.row_bytes
        self._pixel_bytes = plan.channels * plan.depth // 8
        self._alpha_bytes = plan.depth // 8 if plan.has_alpha else 0
        self._seen = 0
        self._total = self._stride * plan.height
        self._rest = b""
        self._black: dict[int, bytes] = {}
        self._may_be_black = True
        self._may_be_clear = plan.has_alpha

    @property
    def missing(self) -> int:
        """Bytes that have not come."""
        return self._total - self._seen

    @property
    def show_nothing(self) -> bool:
        """Whether all rows so far are black, or all are clear."""
        return self._may_be_black or self._may_be_clear

    def take(self, out: bytes) -> None:
        """Take the next inflated bytes."""
        filters = out[-self._seen % self._stride :: self._stride]
        if filters and max(filters) > _LAST_FILTER:
            raise BadPng("holds a row with an unknown filter")
        self._seen += len(out)
        if self._seen > self._total:
            raise BadPng("holds more picture than its header says")
        if self.show_nothing:
            self._look(self._rest + out)

    def _look(self, rows: bytes) -> None:
        whole = len(rows) // self._stride * self._stride
        for start in range(0, whole, self._stride):
            row = rows[start : start + self._stride]
            self._may_be_clear = self._may_be_clear and self._is_clear(row)
            self._may_be_black = self._may_be_black and self._is_black(row)
            if not self.show_nothing:
                self._rest = b""
                return
        self._rest = rows[whole:]

    def _is_clear(self, row: bytes) -> bool:
        # Each byte is filtered with the same one of its neighbours, so that zeros stay zeros whatever the filter.
        lanes = (row[self._pixel_bytes - lane :: self._pixel_bytes] for lane in range(self._alpha_bytes))
        return not any(any(lane) for lane in lanes)

    def _is_black(self, row: bytes) -> bool:
        if self._black:
            return row == self._black[row[0]]
        # Above the first row lies nothing, so that its first pixel stands there as it is, whatever the filter.
        pixel = row[1 : 1 + self._pixel_bytes]
        if any(pixel[: self._pixel_bytes - self._alpha_bytes]):
            return False
        count = (self._stride - 1) // self._pixel_bytes
        half = bytes(value - value // 2 for value in pixel)
        nothing = bytes(len(pixel)) * (count - 1)
        plain, first_only = pixel * count, pixel + nothing
        first = (plain, first_only, plain, pixel + half * (count - 1), first_only)
        later = (plain, first_only, bytes(len(pixel)) + nothing, half + nothing, bytes(len(pixel)) + nothing)
        self._black = {number: bytes([number]) + body for number, body in enumerate(later)}
        return row[1:] == first[row[0]]
