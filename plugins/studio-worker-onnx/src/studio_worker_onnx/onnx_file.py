"""What an ONNX file names besides its own bytes, seen before a library loads it.

A graph may keep its weights in other files, by any path, and may ask for operators from libraries of its own. Both are
refused here by a walk over the file's protobuf fields that reads nothing but their frames, within fixed bounds, none of
them narrower than the worker's own (`studio_worker.models.formats.onnx`), which has let the file through.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from studio_worker import EngineError

MAX_FIELDS = 5_000_000
"""Fields that are looked at, some seconds' worth; a network of 200 MB has some ten thousand."""

MAX_DEPTH = 48
"""Messages within messages; a subgraph takes three."""

MAX_NAME_BYTES = 1_024
"""What is kept of a name; the rest of it says nothing."""

DOMAINS = frozenset(
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
"""Where ONNX Runtime's own operators live."""

_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
_NODE_OPERATOR, _NODE_DOMAIN, _FUNCTION_DOMAIN = 4, 7, 10
_NAMES = frozenset({("node", _NODE_OPERATOR), ("node", _NODE_DOMAIN), ("function", _FUNCTION_DOMAIN)})
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

Field: TypeAlias = tuple[int, int, int, int]
"""Number, wire type, and the value: a number, or where it starts; then where it ends."""


class NotOnnx(ValueError):
    """The bytes are no ONNX file; the sentence says what is wrong with them."""


@dataclass(slots=True)
class Outline:
    """What a file names.

    Attributes:
        operators: each kind of node as (domain, operator).
        functions: domains of the functions that the file brings itself.
        external: a tensor whose values lie in another file; None where there is none.
        graphs: how many graphs there are, subgraphs included.
    """

    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    external: str | None = None
    graphs: int = 0


def check_file(path: Path) -> None:
    """Refuse a file that would make ONNX Runtime open another one, or that is none of its kind.

    Raises:
        EngineError: never worth another try; the sentence names what the file holds.
    """
    try:
        outline = read_outline(path)
    except NotOnnx as error:
        raise EngineError(f"{path.name} is not an ONNX model: {error}", retryable=False) from None
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if outline.external is not None:
        raise EngineError(
            f"{path.name} keeps the tensor {outline.external!r} in another file; "
            "only models in one file are taken: save it with its weights inside",
            retryable=False,
        )
    foreign = sorted({domain for domain, _ in outline.operators} - DOMAINS - outline.functions)
    if foreign:
        raise EngineError(
            f"{path.name} needs a library of custom operators, {', '.join(map(repr, foreign[:3]))}; none is loaded",
            retryable=False,
        )
    if ("com.microsoft", "EPContext") in outline.operators:
        raise EngineError(f"{path.name} was compiled for one device; bring the plain ONNX model", retryable=False)


def read_outline(path: Path) -> Outline:
    """Walk over a file.

    Raises:
        NotOnnx: no protobuf, no graph in it, or beyond the bounds.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise NotOnnx("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            outline = _walk(data)
    if not outline.graphs:
        raise NotOnnx("there is no graph in it")
    return outline


def _walk(data: mmap.mmap) -> Outline:
    outline = Outline()
    seen = 0
    spans = [("model", 0, len(data), 0)]
    while spans:
        kind, start, end, depth = spans.pop()
        children = _CHILDREN.get(kind, {})
        texts: dict[int, str] = {}
        outline.graphs += kind == "graph"
        for number, wire_type, value, stop in _fields(data, start, end):
            seen += 1
            if seen > MAX_FIELDS:
                raise NotOnnx(f"it has more than {MAX_FIELDS:,} fields")
            if kind == "tensor":
                _look_at_tensor(outline, data, (number, wire_type, value, stop), texts)
            elif wire_type == _BYTES and number in children:
                if depth == MAX_DEPTH:
                    raise NotOnnx(f"it is nested more than {MAX_DEPTH} levels deep")
                spans.append((children[number], value, stop, depth + 1))
            elif wire_type == _BYTES and (kind, number) in _NAMES:
                texts[number] = _text(data, value, stop)
        if kind == "node":
            outline.operators.add((texts.get(_NODE_DOMAIN, ""), texts.get(_NODE_OPERATOR, "")))
        elif kind == "function":
            outline.functions.add(texts.get(_FUNCTION_DOMAIN, ""))
        elif kind == "tensor" and _TENSOR_EXTERNAL_DATA in texts:
            outline.external = texts.get(_TENSOR_NAME, "")
    return outline


def _look_at_tensor(outline: Outline, data: mmap.mmap, found: Field, texts: dict[int, str]) -> None:
    """Keep a tensor's name, and a mark where anything says that its values lie elsewhere."""
    number, wire_type, value, stop = found
    if number == _TENSOR_NAME and wire_type == _BYTES:
        texts[_TENSOR_NAME] = _text(data, value, stop)
    elif number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
        texts[_TENSOR_EXTERNAL_DATA] = ""


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[Field]:
    while at < end:
        key, at = _varint(data, at, end)
        number, wire_type = key >> 3, key & 7
        value = at
        if wire_type == _VARINT:
            value, at = _varint(data, at, end)
        elif wire_type == _BYTES:
            size, value = _varint(data, at, end)
            at = value + size
        elif wire_type in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire_type == _EIGHT_BYTES else 4
        else:
            raise NotOnnx(f"a field of the unknown wire type {wire_type} at byte {value}")
        if at > end or not number:
            raise NotOnnx(f"a field runs past its end at byte {value}")
        yield number, wire_type, value, at


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise NotOnnx(f"a number does not end at byte {at}")


def _text(data: mmap.mmap, start: int, stop: int) -> str:
    return data[start : min(stop, start + MAX_NAME_BYTES)].decode("utf-8", errors="replace")
