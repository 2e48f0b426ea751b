from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studio_worker_llama.gguf_header import BadHeader, read_header

from studio_worker.models.formats.gguf import check_gguf


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def head(*keys: bytes, version: int = 3, tensors: int = 0, count: int | None = None) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", version, tensors, len(keys) if count is None else count) + b"".join(keys)


def refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(BadHeader) as error:
        read_header(path)
    return str(error.value)


def test_a_header_says_what_the_file_is(tiny: Path) -> None:
    header = read_header(tiny)
    assert header.architecture == "llama"
    assert header.number("context_length") == 256
    assert header.number("block_count") == 1
    assert header.number("nothing", 5) == 5
    assert header.text("tokenizer.ggml.model") == "llama"
    assert header.lengths["tokenizer.ggml.tokens"] == 354
    assert header.tensors == 12


@pytest.mark.real
def test_a_real_header_is_read_across_its_vocabulary(gemma_path: Path) -> None:
    header = read_header(gemma_path)
    assert header.architecture == "gemma3"
    assert header.lengths["tokenizer.ggml.tokens"] == 262_144
    assert header.values["general.file_type"] == 15


def test_every_type_of_value_is_read(gguf_file: Any, tmp_path: Path) -> None:
    def extra(writer: Any) -> None:
        writer.add_bool("x.yes", True)
        writer.add_float64("x.real", 0.5)
        writer.add_int8("x.small", -3)
        writer.add_array("x.numbers", [1, 2, 3])
        writer.add_array("llama.heads", [1, 4, 2])

    header = read_header(gguf_file(tmp_path / "a.gguf", extra=extra))
    assert [header.values[f"x.{name}"] for name in ("yes", "real", "small", "numbers")] == [True, 0.5, -3, [1, 2, 3]]
    assert header.number("heads") == 4


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it starts with b''"),
        (b"<!DOCTYPE html>", "not a GGUF file"),
        (b"GGUF", "ends inside version"),
        (head(version=99), "version 99"),
        (head(version=1), "version 1"),
        (head(count=2**63), "kv_count claims"),
        (head(tensors=2**60), "tensor_count claims"),
        (head(count=5), "ends inside key 0"),
        (head(struct.pack("<Q", 2**40)), "key 0 claims 1,099,511,627,776"),
        (head(text(b"a.b") + struct.pack("<IQ", 8, 2**40)), "a.b claims"),
        (head(text(b"a.b") + struct.pack("<IQ", 8, 1000)), "ends inside a.b"),
        (head(text(b"a.b") + struct.pack("<I", 77)), "a.b claims 77"),
        (head(text(b"a.b") + struct.pack("<IIQ", 9, 4, 2**50)), "a.b claims"),
        (head(text(b"a.b") + struct.pack("<IIQ", 9, 4, 10**6)), "ends inside a.b"),
        (head(text(b"a.b") + struct.pack("<IIQ", 9, 9, 1)), "array of arrays"),
        (head(text(b"\xff\xfe") + struct.pack("<IB", 0, 1)), "no UTF-8"),
        (head(text(b"general.alignment") + struct.pack("<II", 4, 0)), "general.alignment is 0"),
        (head(text(b"general.alignment") + struct.pack("<II", 4, 12)), "general.alignment is 12"),
        (head(tensors=1) + text(b"w") + struct.pack("<I", 9), "tensor w claims 9"),
        (head(tensors=1) + text(b"w") + struct.pack("<IQIQ", 1, 8, 0, 2**40), "tensor w lies at"),
        (head(tensors=1) + text(b"w") + struct.pack("<IQIQ", 1, 8, 0, 7), "tensor w lies at 7"),
    ],
)
def test_a_header_that_lies_is_refused_by_the_key(tmp_path: Path, data: bytes, problem: str) -> None:
    assert problem in refused(tmp_path, data)


@pytest.mark.parametrize(
    "data",
    [
        head(text("\u202e\n\x1b[2J".encode()) + struct.pack("<I", 77)),
        head(text(b"a" * 60_000) + struct.pack("<I", 77)),
        head(tensors=1) + text(b"w\n" * 30_000) + struct.pack("<I", 9),
        head(text(b"general.alignment") + struct.pack("<I", 8) + text(b"3" * 90_000)),
    ],
    ids=["a key that turns lines round", "a long key", "a long name of a tensor", "a long alignment"],
)
def test_a_name_that_no_line_can_hold_is_shown_in_part_and_escaped(tmp_path: Path, data: bytes) -> None:
    said = refused(tmp_path, data)
    assert said.isprintable()
    assert len(said) < 250


@pytest.mark.parametrize(
    "data",
    [
        head(*(text(b"%d" % number) + b"\x00\x00\x00\x00\x01" for number in range(100_001))),
        head(text(b"tokenizer.huggingface.json") + struct.pack("<I", 8) + text(b" " * (4 * 1024 * 1024 + 1))),
        head(text(b"a.b") + struct.pack("<IIQ", 9, 0, 2**24 + 1) + bytes(2**24 + 1)),
    ],
    ids=["many keys", "a long text", "many items"],
)
def test_what_the_worker_lets_through_for_its_size_is_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    check_gguf(path, path.name)
    assert read_header(path).values


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_a_file_that_is_cut_off_is_refused(tiny: Path, tmp_path: Path, share: float) -> None:
    data = tiny.read_bytes()
    assert "complete?" in refused(tmp_path, data[: int(len(data) * share)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_scrambled_bytes_never_raise_another_error(tiny: Path, tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(tiny.read_bytes()[:12_000])
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(0, 11_999))] = data.draw(st.integers(0, 255))
    (tmp_path / "bad.gguf").write_bytes(raw)
    try:
        read_header(tmp_path / "bad.gguf")
    except BadHeader:
        return
