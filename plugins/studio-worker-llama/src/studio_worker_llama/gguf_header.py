"""The head of a GGUF file, read without loading the model and without believing any number in it.

A stranger's file may claim 2^63 keys or a text of 2^40 bytes; every count is held against a limit and against the
bytes that are really there. No limit is narrower than the worker's own (`studio_worker.models.formats.gguf`), which
has let the file through. See the GGUF specification of the ggml project, versions 2 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from studio_worker_llama.shown_names import MAX_SHOWN, shown

Value: TypeAlias = bool | int | float | str | list[int] | list[float] | None
"""A key's value; of an array, its numbers where they are few, else None."""

MAX_KEYS = 1_000_000
MAX_TENSORS = 1_000_000
MAX_NAME = 65_535
MAX_TEXT = 64 * 1024 * 1024
"""Some files hold a whole ``tokenizer.json`` as one text, of 33 MB for a vocabulary of 262,144 tokens."""

MAX_ITEMS = 64_000_000
MAX_HEADER = 512 * 1024 * 1024
"""Bytes before the tensors; a vocabulary of 262,144 tokens takes 6 MB."""

_KEPT_ITEMS = 4_096
_CHUNK = 4 * 1024 * 1024
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


class BadHeader(ValueError):
    """The file is no GGUF, or its head contradicts itself; the sentence names the key."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    Attributes:
        values: key to value.
        lengths: key to number of items, for arrays.
        tensors: how many tensors there are in this file.
    """

    values: Mapping[str, Value]
    lengths: Mapping[str, int]
    tensors: int

    @property
    def architecture(self) -> str:
        """The family of models, ``llama`` or ``gemma3``; empty where the file says none."""
        return self.text("general.architecture")

    def text(self, key: str) -> str:
        """A text, empty where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of the architecture (``context_length``); the largest where each layer has one."""
        value = self.values.get(f"{self.architecture}.{key}")
        if isinstance(value, list):
            value = max(value, default=default)
        return value if isinstance(value, int) else default


def read_header(path: Path) -> GgufHeader:
    """The head of the file at `path`.

    Raises:
        BadHeader: it is no GGUF file that can be loaded; the sentence says where it breaks.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _Reader(file, size).header()


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._data = b""
        self._at = 0
        self._passed = 0

    def header(self) -> GgufHeader:
        magic = self._file.read(4)
        if magic != b"GGUF":
            raise BadHeader(f"not a GGUF file: it starts with {magic!r}")
        self._passed = 4
        version = self._number("I", "version")
        if version not in (2, 3):
            raise BadHeader(f"GGUF version {version} is not known; 2 and 3 are")
        tensors = self._count("Q", MAX_TENSORS, "tensor_count")
        keys = self._count("Q", MAX_KEYS, "kv_count")
        values: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for number in range(keys):
            key = self._text(MAX_NAME, f"key {number}")
            what = shown(key)
            kind = self._count("I", 12, what)
            if kind == _ARRAY:
                values[key], lengths[key] = self._array(what)
            else:
                values[key] = self._text(MAX_TEXT, what) if kind == _TEXT else self._number(_NUMBERS[kind], what)
        offsets = [self._tensor(number) for number in range(tensors)]
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1) or alignment > 2**20:
            raise BadHeader(f"general.alignment is {alignment!r:.{MAX_SHOWN}}; a power of two is needed")
        begin = -(-(self._passed + self._at) // alignment) * alignment
        for name, offset in offsets:
            if offset % alignment or begin + offset >= self._size:
                raise BadHeader(f"tensor {name} lies at {offset:,}, past the end or out of line: is the file complete?")
        return GgufHeader(values, lengths, tensors)

    def _tensor(self, number: int) -> tuple[str, int]:
        name = shown(self._text(MAX_NAME, f"tensor {number}"))
        dimensions = self._count("I", 4, f"tensor {name}")
        self._take(8 * dimensions + 4, f"tensor {name}")
        return name, int(self._number("Q", f"tensor {name}"))

    def _array(self, what: str) -> tuple[Value, int]:
        """An array and how many items it has."""
        kind = self._count("I", 12, what)
        items = self._count("Q", MAX_ITEMS, what)
        if kind == _ARRAY:
            raise BadHeader(f"{what} is an array of arrays, which nothing loads")
        if kind == _TEXT:
            for _ in range(items):
                self._text(MAX_TEXT, what, keep=False)
            return None, items
        data = self._take(struct.calcsize("<" + _NUMBERS[kind]) * items, what)
        return list(struct.unpack(f"<{items}{_NUMBERS[kind]}", data)) if items <= _KEPT_ITEMS else None, items

    def _text(self, limit: int, what: str, *, keep: bool = True) -> str:
        data = self._take(self._count("Q", limit, what), what)
        if not keep:
            return ""
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BadHeader(f"{what} is no UTF-8 text") from None

    def _count(self, kind: str, limit: int, what: str) -> int:
        count = int(self._number(kind, what))
        if count > limit:
            raise BadHeader(f"{what} claims {count:,}; at most {limit:,} are read")
        return count

    def _number(self, kind: str, what: str) -> int | float:
        (value,) = struct.unpack("<" + kind, self._take(struct.calcsize("<" + kind), what))
        return value if isinstance(value, (int, float)) else 0

    def _take(self, length: int, what: str) -> bytes:
        end = self._at + length
        if end > len(self._data):
            if self._passed + end > min(self._size, MAX_HEADER):
                raise BadHeader(f"the file ends inside {what}: is it complete?")
            self._passed += self._at
            self._data = self._data[self._at :] + self._file.read(max(_CHUNK, length))
            self._at, end = 0, length
            if end > len(self._data):
                raise BadHeader(f"the file ends inside {what}: is it complete?")
        data = self._data[self._at : end]
        self._at = end
        return data
