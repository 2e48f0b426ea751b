from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.models.formats.numpy_header import MAGIC, MAX_HEADER, MAX_START, is_plain

SHAPE = "'fortran_order': False, 'shape': (1,), }"


def made(header: str, version: int = 1) -> bytes:
    text = header.encode("latin-1" if version < 3 else "utf-8") + b"\n"
    return MAGIC + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def of_type(descr: str) -> bytes:
    return made(f"{{'descr': {descr}, {SHAPE}")


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">i2", "|b1", "|u1", "<c16", "|S3", "<U5", "|V2", "<M8[ns]", "<m8"])
def test_plain_values_pass(kind: str) -> None:
    assert is_plain(of_type(repr(kind)) + b"\x80\x04rest")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_version_is_read(version: int) -> None:
    assert is_plain(made(f"{{'descr': '<f4', {SHAPE}", version))
    assert not is_plain(made(f"{{'descr': '|O', {SHAPE}", version))


def test_what_numpy_writes_passes_unless_it_holds_objects() -> None:
    numpy = pytest.importorskip("numpy")
    values: list[tuple[Any, bool]] = [
        (numpy.zeros((2, 3), dtype=numpy.float16), True),
        (numpy.array("text"), True),
        (numpy.array(["2026-01-01"], dtype="datetime64[D]"), True),
        (numpy.array([object()], dtype=object), False),
        (numpy.zeros(1, dtype=[("a", "O")]), False),
    ]
    for value, expected in values:
        stream = io.BytesIO()
        numpy.lib.format.write_array_header_1_0(stream, numpy.lib.format.header_data_from_array_1_0(value))
        assert is_plain(MAGIC + b"\x01\x00" + stream.getvalue().removeprefix(MAGIC + b"\x01\x00")) == expected


OTHERS = """
"|O"; 'O'; 'object'; 'O8'; 'f4,O'; '<f4, O'; [('a', '|O')]; [('a', '<f4')]; ('O', 3); '<f4\\n'; b'<f4';
None; 1; '\\x7cO'; '<' 'O'; 'float32'; __import__('os'); '<f4' if 1 else 2; ''
"""


@pytest.mark.parametrize("descr", [descr.strip() for descr in OTHERS.split(";")])
def test_other_types_are_not_plain(descr: str) -> None:
    assert not is_plain(of_type(descr))


@pytest.mark.parametrize(
    "head",
    [
        MAGIC,
        MAGIC + b"\x04\x00",
        MAGIC + b"\x01\x00\x05",
        of_type("'<f4'")[:-9],
        of_type(" " * 5_000 + "'|O'"),
        of_type(" " * MAX_HEADER + "'<f4'"),
        made("{'descr': '<f4', 'descr': '|O', " + SHAPE),
        made("{'descr': '<f4'}"),
        made("{'descr': '<f4', 'more': 1, " + SHAPE),
        made("{'descr': '<f4', [1]: 1, " + SHAPE),
        made("[1]"),
        made("\0"),
        made("(" * 9_000),
        made("-" * 9_000 + "1"),
        made("1" + "+1" * 4_900),
        made("'\\ud800" * 9),
        MAGIC + b"\x03\x00\x01\x00\x00\x00\xff",
    ],
    ids=lambda head: repr(head[:30]),
)
def test_a_header_that_is_none_is_not_plain(head: bytes) -> None:
    assert not is_plain(head[:MAX_START])


@given(st.binary(max_size=200))
def test_any_header_gets_an_answer(text: bytes) -> None:
    assert is_plain(MAGIC + b"\x01\x00" + struct.pack("<H", len(text)) + text) in (True, False)
