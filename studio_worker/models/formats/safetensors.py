"""The header of a safetensors file (the format's own README): lengths, shapes and offsets that fit the file."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.wire.strict_json import NotJson, loads

MAX_HEADER = 100_000_000
"""The limit that the reference implementation has."""

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


def check_safetensors(path: Path, name: str) -> None:
    """Judge a safetensors file by its header. Blocks.

    Raises:
        BadModelFile: rule `safetensors`; the sentence names the tensor.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header, room = _header(file, size, name)
    spans = []
    for tensor, entry in header.items():
        if tensor != "__metadata__":
            spans.append((*_span(tensor, entry, room, name), tensor))
    spans.sort()
    at = 0
    for begin, end, tensor in spans:
        if begin < at:
            raise _bad(name, f"tensor {tensor[:100]!r} overlaps another one")
        if begin > at:
            raise _bad(name, f"nothing describes the bytes before tensor {tensor[:100]!r}")
        at = end
    if at != room:
        raise _bad(name, f"{room - at:,} bytes behind the last tensor belong to none")


def _header(file: BinaryIO, size: int, name: str) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes the tensors have."""
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or length > min(size - 8, MAX_HEADER):
        raise _bad(name, f"its header claims {length:,} bytes of a file that has {size:,}")
    try:
        header = loads(file.read(length))
    except NotJson as error:
        raise _bad(name, f"its header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise _bad(name, "its header is no object")
    return header, size - 8 - length


def _span(tensor: str, entry: Any, room: int, name: str) -> tuple[int, int]:
    shown = repr(tensor[:100])
    kind, shape, offsets = (
        entry.get(key) if isinstance(entry, dict) else None for key in ("dtype", "shape", "data_offsets")
    )
    if not isinstance(kind, str) or kind not in _BITS:
        raise _bad(name, f"tensor {shown} has an unknown type")
    sizes, span = _sizes(shape), _sizes(offsets)
    if sizes is None or span is None or len(span) != 2:
        raise _bad(name, f"tensor {shown} has no usable shape or offsets")
    begin, end = span
    if not begin <= end <= room:
        raise _bad(name, f"tensor {shown} lies outside of the file")
    if prod(sizes) * _BITS[kind] != (end - begin) * 8:
        raise _bad(name, f"the shape of tensor {shown} does not fit its {end - begin:,} bytes")
    return begin, end


def _sizes(value: Any) -> list[int] | None:
    """A short list of whole numbers that fit 63 bits, or None."""
    if not isinstance(value, list) or len(value) > 64:
        return None
    if all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**63 for each in value):
        return value
    return None


def _bad(name: str, problem: str) -> BadModelFile:
    return BadModelFile("safetensors", f"{name} is no sound safetensors file: {problem}")
