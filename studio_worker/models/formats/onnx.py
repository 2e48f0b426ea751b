"""An ONNX file's references to the outside: tensors in other files, operators of other libraries.

A walk over the protobuf of onnx.proto3 that reads only the fields in which references stand; weights are stepped over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.wire.model_source import plain_file_name

MAX_FIELDS = 5_000_000
MAX_DEPTH = 32

KNOWN_DOMAINS = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.training",
        "ai.onnx.preview.training",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.microsoft.experimental",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
    }
)
"""The operators that ONNX Runtime brings along."""

_GRAPH, _FUNCTION = "graph", "function"
_MODEL = {7: _GRAPH, 20: "training", 25: _FUNCTION}
_CHILDREN = {
    "model": _MODEL,
    "training": {1: _GRAPH, 2: _GRAPH},
    _GRAPH: {1: "node", 5: "tensor", 15: "sparse"},
    _FUNCTION: {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: _GRAPH, 11: _GRAPH, 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
"""Message to its fields that hold messages of interest (onnx/onnx.proto3)."""

_DOMAIN = {"node": 7, _FUNCTION: 10}


def check_onnx(path: Path, name: str) -> None:
    """Judge an ONNX file by what it refers to. Blocks.

    Raises:
        BadModelFile: rule `onnx`; the sentence names the reference.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise _bad(name, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Walk(data, name).check()


class _Walk:
    """One file: what its nodes need, and what its own functions define."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._name = name
        self._fields = 0
        self._needed: set[str] = set()
        self._defined: set[str] = set()
        self._has_graph = False

    def check(self) -> None:
        self._message("model", 0, len(self._data), 0)
        if not self._has_graph:
            raise _bad(self._name, "it holds no graph")
        foreign = sorted(self._needed - self._defined - KNOWN_DOMAINS)
        if foreign:
            raise _bad(self._name, f"it needs a library of operators for the domain {foreign[0][:100]!r}")

    def _message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _bad(self._name, "it nests graphs too deeply")
        self._has_graph = self._has_graph or kind == _GRAPH
        if kind == "external":
            self._external(start, end)
            return
        children, domain = _CHILDREN[kind], _DOMAIN.get(kind)
        for number, begin, stop in self._parts(start, end):
            if number in children:
                self._message(children[number], begin, stop, depth + 1)
            elif number == domain:
                text = self._data[begin:stop][:200].decode(errors="replace")
                (self._needed if kind == "node" else self._defined).add(text)

    def _external(self, start: int, end: int) -> None:
        fields = {number: self._data[begin:stop] for number, begin, stop in self._parts(start, end)}
        if fields.get(1) != b"location":
            return
        location = fields.get(2, b"")[:1000].decode(errors="replace")
        try:
            plain_file_name(location)
        except ValueError:
            raise _bad(self._name, f"its weights lie in {location[:200]!r}, which is no plain file beside it") from None

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Number, begin and end of each field of a message that has a length; the others are stepped over."""
        at = start
        while at < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise _bad(self._name, "it has more fields than any model")
            tag, at = self._varint(at, end)
            wire = tag & 7
            if wire == 0:
                _, at = self._varint(at, end)
            elif wire == 1:
                at += 8
            elif wire == 5:
                at += 4
            elif wire == 2:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise _bad(self._name, "a field goes on behind its end")
                yield tag >> 3, at, at + length
                at += length
            else:
                raise _bad(self._name, "it is no protobuf")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise _bad(self._name, "it ends in the middle of a field")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise _bad(self._name, "it is no protobuf")


def _bad(name: str, problem: str) -> BadModelFile:
    return BadModelFile("onnx", f"{name} is no sound ONNX file: {problem}")
