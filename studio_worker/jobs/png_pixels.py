"""The pixels of a PNG file, counted and looked at while they are unpacked, and never held.

A decoder would turn a megabyte of picture into several megabytes of memory only to answer two questions: is all of it
there, and is there anything to see. Both can be read off the inflated rows (PNG specification, third edition,
sections 9 and 10): their number, and whether each is what its filter makes of a black or clear row. No sum is taken:
what an engine has just written was not changed on its way, and the sum of a megabyte costs as much as inflating it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import BinaryIO

from studio_worker.jobs.png_chunks import BadPng, PngPlan
from studio_worker.jobs.png_data import NotStored, inflated, stored

_LAST_FILTER = 4


def read_pixels(file: BinaryIO, plan: PngPlan) -> bool:
    """Unpack the picture; whether there is nothing to see: all of it is equally black, or wholly transparent.

    A black drawing on a transparent ground is something: its pixels are black, but not equally opaque. A few rows are
    held, whatever the file says of itself.

    Args:
        file: the file that the plan was read from.
        plan: of a picture that `is_plain`.

    Raises:
        BadPng: the data is broken, or is not as many rows as the header says.
    """
    if isinstance(file, io.BytesIO):
        try:
            return _look_stored(file.getvalue(), plan)
        except NotStored:
            pass
    rows = _Rows(plan)
    for piece in inflated(file, plan):
        rows.take(piece, 0, len(piece))
    return rows.verdict()


def _look_stored(file: bytes, plan: PngPlan) -> bool:
    rows = _Rows(plan)
    pieces = stored(file, plan)
    looked_at = 0
    while looked_at < len(pieces) and rows.may_show_nothing:
        rows.take(file, *pieces[looked_at])
        looked_at += 1
    rows.count(file, pieces[looked_at:])
    return rows.verdict()


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
    def may_show_nothing(self) -> bool:
        """Whether there was nothing to see so far."""
        return self._may_be_black or self._may_be_clear

    def take(self, data: bytes, start: int, stop: int) -> None:
        """Take the next unpacked bytes: a part of `data`."""
        self.count(data, [(start, stop)])
        if self.may_show_nothing:
            self._look(self._rest + data[start:stop])

    def count(self, data: bytes, pieces: Sequence[tuple[int, int]]) -> None:
        """Take the next unpacked bytes, parts of `data`, without a look at what they show."""
        seen, stride, filters = self._seen, self._stride, bytearray()
        for start, stop in pieces:
            filters += data[start + -seen % stride : stop : stride]
            seen += stop - start
        if filters and max(filters) > _LAST_FILTER:
            raise BadPng("holds a row with an unknown filter")
        if seen > self._total:
            raise BadPng("holds more picture than its header says")
        self._seen = seen

    def verdict(self) -> bool:
        """After all has come: whether all rows are black, or all are clear."""
        if self._seen < self._total:
            raise BadPng("holds less picture than its header says")
        return self.may_show_nothing

    def _look(self, rows: bytes) -> None:
        whole = len(rows) // self._stride * self._stride
        for start in range(0, whole, self._stride):
            row = rows[start : start + self._stride]
            self._may_be_clear = self._may_be_clear and self._is_clear(row)
            self._may_be_black = self._may_be_black and self._is_black(row)
            if not self.may_show_nothing:
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
