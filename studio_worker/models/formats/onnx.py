"""An ONNX file's references to the outside: tensors in other files, operators of other libraries.

A walk over the protobuf of onnx.proto that reads only the fields in which references stand; weights are stepped over.
What two parsers could read in two ways (https://protobuf.dev/programming-guides/encoding/) is refused: C++ drops the
bits of a tag above the 32nd, others keep them, and what one steps over the other runs. Fields that come more than once
are looked at each time, since parsers put messages together and keep the last of texts.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeAlias

from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.wire.model_source import plain_file_name

MAX_FIELDS = 5_000_000
"""Fields that are looked at, some seconds' worth; a network of 200 MB has some ten thousand."""

MAX_DEPTH = 48
"""Messages within messages; a subgraph takes three."""

MAX_DOMAINS = 256
"""Libraries of operators, the file's own included; most files name one or two."""

MAX_TEXT = 1_024
"""Bytes of a name that decides something."""

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
_CHILDREN = {
    "model": {7: _GRAPH, 20: "training", 25: _FUNCTION},
    "training": {1: _GRAPH, 2: _GRAPH},
    _GRAPH: {1: "node", 5: "tensor", 15: "sparse"},
    _FUNCTION: {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 6: _GRAPH, 11: _GRAPH, 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
"""Message to its fields that hold messages of interest (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)."""

_TEXTS = {"node": {4: "operator", 7: "domain"}, _FUNCTION: {10: "domain"}, "entry": {1: "key", 2: "value"}}
_DATA_LOCATION = 14
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MAX_TAG, _MAX_LENGTH, _MAX_VALUE = 2**32, 2**31, 2**64
_COMPILED = ("com.microsoft", "EPContext")
"""The operator that stands for what was compiled for one device, and names files and libraries of its own."""

Field: TypeAlias = tuple[int, int, int, int]
"""Number, wire type, and the value: a number, or where it starts; then where it ends."""


def check_onnx(path: Path, name: str, *, beside: Collection[str] | None = ()) -> None:
    """Judge an ONNX file by what it refers to, before a library opens it. Blocks.

    Args:
        path: the file.
        name: what it is called in the refusal.
        beside: names of the files, in the same folder, that its weights may lie in; none by default, so that all must
            lie inside. None: nobody knows which, and any plain name will do.

    Raises:
        ModelUnavailable: rule `onnx`; the sentence names the reference.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise _bad(name, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Walk(data, name, beside).check()


class _Walk:
    """One file: what its nodes need, and what its own functions define."""

    def __init__(self, data: mmap.mmap, name: str, beside: Collection[str] | None) -> None:
        self._data = data
        self._name = name
        self._beside = beside
        self._seen = 0
        self._needed: set[str] = set()
        self._defined: set[str] = set()
        self._has_graph = False

    def check(self) -> None:
        self._message("model", 0, len(self._data), 0)
        if not self._has_graph:
            raise self._bad("it holds no graph")
        foreign = sorted(self._needed - self._defined)
        if foreign:
            raise self._bad(f"it needs a library of operators for the domain {foreign[0][:100]!r}")

    def _message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._bad("it nests graphs too deeply")
        self._has_graph = self._has_graph or kind == _GRAPH
        children, named = _CHILDREN[kind], _TEXTS.get(kind, {})
        texts = dict.fromkeys(named.values(), "")
        for number, wire_type, value, stop in self._fields(start, end):
            if kind == "tensor" and number == _DATA_LOCATION:
                self._of_type(wire_type, _VARINT, kind)
                if value:
                    self._elsewhere()
            elif number in children:
                self._of_type(wire_type, _BYTES, kind)
                self._message(children[number], value, stop, depth + 1)
            elif number in named:
                self._of_type(wire_type, _BYTES, kind)
                texts[named[number]] = self._text(value, stop)
        if kind == "node":
            self._node(texts["domain"], texts["operator"])
        elif kind == _FUNCTION:
            self._note(self._defined, texts["domain"])
        elif kind == "entry":
            self._entry(texts["key"], texts["value"])

    def _node(self, domain: str, operator: str) -> None:
        if (domain, operator) == _COMPILED:
            raise self._bad("it was compiled for one device; bring the plain ONNX model")
        if domain not in KNOWN_DOMAINS:
            self._note(self._needed, domain)

    def _entry(self, key: str, value: str) -> None:
        """A word about where a tensor's values lie."""
        self._elsewhere()
        if key != "location":
            return
        try:
            plain_file_name(value)
        except ValueError:
            raise self._bad(f"its weights lie in {value[:200]!r}, which is no plain file beside it") from None
        if self._beside is not None and value not in self._beside:
            raise self._bad(f"its weights lie in {value[:200]!r}, which is none of the model's files")

    def _elsewhere(self) -> None:
        if self._beside is not None and not self._beside:
            raise self._bad("it keeps a tensor in another file; save it with its weights inside")

    def _note(self, domains: set[str], domain: str) -> None:
        domains.add(domain)
        if len(domains) > MAX_DOMAINS:
            raise self._bad("it names more libraries of operators than any model")

    def _text(self, start: int, stop: int) -> str:
        if stop - start > MAX_TEXT:
            raise self._bad(f"a name in it has {stop - start:,} bytes")
        try:
            return self._data[start:stop].decode()
        except UnicodeDecodeError:
            raise self._bad("a name in it is no text") from None

    def _of_type(self, found: int, wanted: int, kind: str) -> None:
        if found != wanted:
            raise self._bad(f"a field of a {kind} has another type than it should have")

    def _fields(self, at: int, end: int) -> Iterator[Field]:
        while at < end:
            self._seen += 1
            if self._seen > MAX_FIELDS:
                raise self._bad("it has more fields than any model")
            tag, at = self._varint(at, end, _MAX_TAG)
            number, wire_type = tag >> 3, tag & 7
            value = at
            if wire_type == _VARINT:
                value, at = self._varint(at, end, _MAX_VALUE)
            elif wire_type == _BYTES:
                length, value = self._varint(at, end, _MAX_LENGTH)
                at = value + length
            elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
                at += 8 if wire_type == _EIGHT_BYTES else 4
            else:
                number = 0
            if not number:
                raise self._bad("it is no protobuf")
            if at > end:
                raise self._bad("a field goes on behind its end")
            yield number, wire_type, value, at

    def _varint(self, at: int, end: int, bound: int) -> tuple[int, int]:
        """A number below `bound` in as few bytes as it needs, and where it ends."""
        value = shift = 0
        while value < bound:
            if at >= end:
                raise self._bad("it ends in the middle of a field")
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= bound:
                    break
                if shift and not byte:
                    raise self._bad("a number in it is longer than it needs to be")
                return value, at
            shift += 7
            if shift >= 70:
                break
        raise self._bad("it is no protobuf: a number in it is too long")

    def _bad(self, problem: str) -> BadModelFile:
        return _bad(self._name, problem)


def _bad(name: str, problem: str) -> BadModelFile:
    return BadModelFile("onnx", f"{name} is no sound ONNX file: {problem}")
