from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio_worker.models.formats.safetensors import check_safetensors

from .judging import judged


def tensor(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def made(header: object, body: int = 0, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(body)


SOUND = made({"__metadata__": {"format": "pt"}, "a": tensor(0, 8), "b": tensor(8, 24, [2, 2])}, 24)


@pytest.mark.parametrize(
    "data",
    [
        SOUND,
        made({"a": tensor(0, 4, [])}, 4),
        made({"a": tensor(0, 0, [0, 5]), "b": tensor(0, 4)}, 4),
        made({"b": tensor(8, 24), "a": tensor(0, 8)}, 24),
        made({"a": tensor(0, 2, [4], "F4")}, 2),
        made(b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}     ', 3),
        made({}),
    ],
)
def test_a_sound_file_passes(tmp_path: Path, data: bytes) -> None:
    assert judged(check_safetensors, tmp_path / "x", "a.safetensors", data)[1] == ""


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "claims 0 bytes of a file that has 0"),
        (made({}, length=2**63), "claims 9,223,372,036,854,775,808 bytes"),
        (made({}, length=3), "claims 3 bytes of a file that has 10"),
        (made({}, 100, length=100_000_001), "claims 100,000,001 bytes"),
        (made(b"{broken", 3), "no JSON"),
        (made(b"\xff\xff", 3), "no JSON"),
        (made([1], 3), "no object"),
        (made(b'{"a":1,"a":2}', 3), "repeated key"),
        (made(b"[" * 5_000), "nested too deeply"),
        (made(b'{"a":' * 600 + b"1" + b"}" * 600), "nested too deeply"),
        (made(b"[" + b"[]," * 1_000_001 + b"1]"), "brackets"),
        (made({"a": 5}), "unknown type"),
        (made({"a": tensor(0, 4, dtype="F17")}, 4), "unknown type"),
        (made({"a": tensor(0, 4, dtype=["F32"])}, 4), "unknown type"),  # type: ignore[arg-type]
        (made({"a": tensor(0, 4, [-1])}, 4), "no usable shape"),
        (made({"a": tensor(0, 4, [True])}, 4), "no usable shape"),
        (made({"a": tensor(0, 4, [1.0])}, 4), "no usable shape"),  # type: ignore[list-item]
        (made({"a": tensor(0, 4, [2**63])}, 4), "no usable shape"),
        (made({"a": tensor(0, 4, [1] * 65)}, 4), "no usable shape"),
        (made({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, 4), "no usable shape"),
        (made({"a": {"dtype": "F32", "shape": [1]}}, 4), "no usable shape"),
        (made({"a": tensor(4, 0, [1])}, 4), "outside of the file"),
        (made({"a": tensor(0, 8)}, 4), "outside of the file"),
        (made({"a": tensor(0, 4, [2**32, 2**32])}, 4), "does not fit its 4 bytes"),
        (made({"a": tensor(0, 4, [2])}, 4), "does not fit its 4 bytes"),
        (made({"a": tensor(0, 8), "b": tensor(4, 12)}, 12), "'b' overlaps"),
        (made({"a": tensor(0, 4), "b": tensor(8, 12)}, 12), "before tensor 'b'"),
        (made({"a": tensor(0, 4)}, 5), "1 bytes behind the last tensor"),
        (SOUND[:-1], "outside of the file"),
    ],
)
def test_a_header_that_lies_is_refused_with_the_reason(tmp_path: Path, data: bytes, problem: str) -> None:
    assert problem in judged(check_safetensors, tmp_path / "x", "a.safetensors", data)[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_passes_and_never_more(tmp_path: Path, data: st.DataObject) -> None:
    bytes_ = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 8))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    rule, _ = judged(
        check_safetensors, tmp_path / "x", "a.safetensors", bytes(bytes_[: data.draw(st.integers(0, len(bytes_)))])
    )
    assert rule in ("", "safetensors")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries({}, optional={"dtype": st.just("F32") | JSON, "shape": JSON, "data_offsets": JSON})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.dictionaries(st.text(max_size=5), ENTRY | JSON, max_size=4), st.integers(0, 32))
def test_a_header_of_anything_is_refused_or_passes_and_never_more(
    tmp_path: Path, header: dict[str, Any], body: int
) -> None:
    rule, _ = judged(check_safetensors, tmp_path / "x", "a.safetensors", made(header, body))
    assert rule in ("", "safetensors")
