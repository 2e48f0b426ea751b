"""The header of a numpy file (numpy's NEP 1): whether its values are plain numbers or texts, and no pickled objects."""

from __future__ import annotations

import ast
import re

MAGIC = b"\x93NUMPY"

MAX_HEADER = 10_000
"""The limit that numpy has itself."""

MAX_START = len(MAGIC) + 2 + 4 + MAX_HEADER
"""Bytes within which a header ends."""

_KEYS = {"descr", "fortran_order", "shape"}
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Version to the width of the header's length."""

_PLAIN = re.compile(r"[<>|=]?(?:[?biufcSUV]\d{0,9}|[mM]8(?:\[\w{1,9}\])?)", re.ASCII)
"""Types whose values are bytes as they stand; a name, a list of fields or an O may mean objects."""


def is_plain(head: bytes) -> bool:
    """Whether the file's first `MAX_START` bytes hold a whole header of plain values.

    Args:
        head: the bytes, which begin with `MAGIC`.
    """
    width = _LENGTH_BYTES.get(int.from_bytes(head[6:7], "little"))
    if width is None:
        return False
    start = 8 + width
    length = int.from_bytes(head[8:start], "little")
    text = head[start : start + length]
    if length > MAX_HEADER or len(text) < length:
        return False
    try:
        header = ast.literal_eval(text.decode("latin-1" if width == 2 else "utf-8"))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    if not isinstance(header, dict) or header.keys() != _KEYS:
        return False
    kind = header["descr"]
    return isinstance(kind, str) and _PLAIN.fullmatch(kind) is not None
