"""The header of a GGUF file (ggml's docs/gguf.md): keys, strings and tensors that fit the file, with bounds on all."""

from __future__ import annotations

import mmap
import struct
from math import prod
from pathlib import Path

from studio_worker.models.formats.bad_file import BadModelFile

MAX_COUNT = 1_000_000
MAX_STRING = 64 * 1024 * 1024
MAX_NAME = 1_024
MAX_ELEMENTS = 64_000_000

MAX_STEPS = 8_000_000
"""Reads of numbers and strings, of which each string takes two: a million tokens with their merges are half of that."""

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Type of a tensor to elements and bytes of a block; of a type that is not listed only the start is checked."""


def check_gguf(path: Path, name: str) -> None:
    """Judge a GGUF file by its header. Blocks.

    Raises:
        BadModelFile: rule `gguf`; the sentence names the key or the tensor.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size < 24:
            raise _bad(name, "it ends in its first lines")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Header(data, name).check()


class _Header:
    """A walk through the header; `at` is the byte that comes next."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._size = len(data)
        self._name = name
        self._at = 4
        self._where = "its first lines"
        self._steps = 0

    def check(self) -> None:
        if self._data[:4] != b"GGUF":
            raise _bad(self._name, f"it starts with {self._data[:4]!r}")
        version = self._u32()
        if version not in (2, 3):
            raise _bad(self._name, f"version {version} is unknown; 2 and 3 are read")
        tensors, keys = self._u64(), self._u64()
        if tensors > MAX_COUNT or keys > MAX_COUNT:
            raise _bad(self._name, f"it claims {tensors:,} tensors and {keys:,} keys")
        alignment = 32
        for number in range(keys):
            self._where = f"key number {number + 1}"
            key = self._string(MAX_NAME)
            self._where = f"key {key[:100]!r}"
            kind = self._u32()
            if key == b"general.alignment":
                alignment = self._alignment(kind)
            else:
                self._skip_value(kind, depth=0)
        spans = [self._tensor(number, alignment) for number in range(tensors)]
        start = -(-self._at // alignment) * alignment
        for shown, offset, length in spans:
            if start + offset + length > self._size:
                raise _bad(self._name, f"tensor {shown} ends behind the end of the file")

    def _alignment(self, kind: int) -> int:
        if kind != _UINT32:
            raise self._refused("is no 32-bit number")
        value = self._u32()
        if value == 0 or value % 8 or value > 2**20:
            raise self._refused(f"is {value}; it must be a multiple of 8")
        return value

    def _tensor(self, number: int, alignment: int) -> tuple[str, int, int]:
        self._where = f"tensor number {number + 1}"
        shown = repr(self._string(MAX_NAME)[:100])
        self._where = f"tensor {shown}"
        dimensions = self._u32()
        if dimensions > 4:
            raise self._refused(f"has {dimensions:,} dimensions")
        shape = [self._u64() for _ in range(dimensions)]
        kind, offset = self._u32(), self._u64()
        elements = prod(shape)
        if any(not 0 < each < 2**48 for each in shape) or elements >= 2**60:
            raise self._refused("has an impossible shape")
        if offset % alignment:
            raise self._refused(f"is not aligned to {alignment} bytes")
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
        if shape and shape[0] % per_block:
            raise self._refused("has rows that are no whole blocks")
        return shown, offset, elements // per_block * block_bytes

    def _skip_value(self, kind: int, *, depth: int) -> None:
        if kind in _SCALAR_BYTES:
            self._skip(_SCALAR_BYTES[kind])
        elif kind == _STRING:
            self._skip_string()
        elif kind == _ARRAY and depth < 4:
            inner, count = self._u32(), self._u64()
            if count > MAX_ELEMENTS:
                raise self._refused(f"claims {count:,} elements")
            if inner in _SCALAR_BYTES:
                self._skip(_SCALAR_BYTES[inner] * count)
            else:
                for _ in range(count):
                    self._skip_value(inner, depth=depth + 1)
        else:
            raise self._refused(f"has the unknown type {kind}")

    def _skip_string(self) -> None:
        length = self._u64()
        if length > MAX_STRING:
            raise self._refused(f"claims a string of {length:,} bytes")
        self._skip(length)

    def _string(self, most: int) -> bytes:
        length = self._u64()
        if length > most:
            raise self._refused(f"claims a name of {length:,} bytes")
        start = self._at
        self._skip(length)
        return self._data[start : self._at]

    def _u32(self) -> int:
        return int(struct.unpack_from("<I", self._data, self._skip(4))[0])

    def _u64(self) -> int:
        return int(struct.unpack_from("<Q", self._data, self._skip(8))[0])

    def _skip(self, length: int) -> int:
        """Go on by `length` bytes; returns where they start."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise self._refused("is one of more parts than any model has")
        start = self._at
        if start + length > self._size:
            raise self._refused("goes on behind the end of the file")
        self._at += length
        return start

    def _refused(self, problem: str) -> BadModelFile:
        return _bad(self._name, f"{self._where} {problem}")


def _bad(name: str, problem: str) -> BadModelFile:
    return BadModelFile("gguf", f"{name} is no sound GGUF file: {problem}")
