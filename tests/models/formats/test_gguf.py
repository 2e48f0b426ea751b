from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio_worker.models.formats import gguf as gguf_module
from studio_worker.models.formats.gguf import check_gguf

from .judging import judged

U8, U32, STRING, ARRAY = 0, 4, 8, 9


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def tensor(
    name: bytes = b"w", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0, dims: int | None = None
) -> bytes:
    sizes = struct.pack(f"<{len(shape)}Q", *shape)
    return (
        text(name) + struct.pack("<I", len(shape) if dims is None else dims) + sizes + struct.pack("<IQ", kind, offset)
    )


def made(
    *keys: bytes,
    tensors: tuple[bytes, ...] = (),
    body: int = 0,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    head = struct.pack("<4sIQQ", magic, version, *(counts or (len(tensors), len(keys))))
    data = head + b"".join(keys) + b"".join(tensors)
    return data + bytes(-len(data) % 32) + bytes(body)


SOUND = made(
    key(b"general.architecture", STRING, text(b"llama")),
    key(b"general.alignment", U32, struct.pack("<I", 32)),
    key(b"tokens", ARRAY, array(STRING, 3, text(b"a") + text(b"") + text(b"c"))),
    key(b"nested", ARRAY, array(ARRAY, 2, array(U8, 2, b"ab") + array(U8, 0))),
    tensors=(tensor(), tensor(b"q", (32, 2), 2, 128), tensor(b"new kind", (32,), 9_999, 0)),
    body=192,
)


@pytest.mark.parametrize("data", [SOUND, made(), made(version=2), made(tensors=(tensor(shape=()),), body=4)])
def test_a_sound_file_passes(tmp_path: Path, data: bytes) -> None:
    assert judged(check_gguf, tmp_path / "x", "a.gguf", data)[1] == ""


def test_a_file_of_the_reference_writer_passes(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_array("tokens", ["a", "b"])
    writer.add_tensor("w", numpy.zeros((4, 64), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_gguf(tmp_path / "a.gguf", "a.gguf")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GGUF", "ends in its first lines"),
        (made(magic=b"GGML"), "starts with b'GGML'"),
        (made(magic=b"FUGG"), "starts with b'FUGG'"),
        (made(version=99), "version 99 is unknown"),
        (made(version=1), "version 1 is unknown"),
        (made(version=0x03000000), "is unknown"),
        (made(counts=(2**63, 0)), "claims 9,223,372,036,854,775,808 tensors"),
        (made(counts=(0, 2**63)), "9,223,372,036,854,775,808 keys"),
        (made(counts=(0, 5)), "behind the end of the file"),
        (made(key(b"a", 77, b"")), "key b'a' has the unknown type 77"),
        (made(key(b"a", STRING, struct.pack("<Q", 2**40))), "claims a string of 1,099,511,627,776 bytes"),
        (made(key(b"a", STRING, struct.pack("<Q", 1_000))), "behind the end of the file"),
        (made(struct.pack("<Q", 2**40)), "claims a name of 1,099,511,627,776 bytes"),
        (made(key(b"a", ARRAY, array(U8, 2**50))), "claims 1,125,899,906,842,624 elements"),
        (made(key(b"a", ARRAY, array(U8, 10**6))), "behind the end of the file"),
        (made(key(b"a", ARRAY, array(STRING, 60_000_000))), "behind the end of the file"),
        (made(key(b"a", ARRAY, array(ARRAY, 1) * 6 + array(U8, 0))), "has the unknown type 9"),
        (made(key(b"general.alignment", U32, struct.pack("<I", 0))), "is 0; it must be a multiple of 8"),
        (made(key(b"general.alignment", U32, struct.pack("<I", 12))), "is 12"),
        (made(key(b"general.alignment", U32, struct.pack("<I", 2**31))), "must be a multiple of 8"),
        (made(key(b"general.alignment", STRING, text(b"32"))), "is no 32-bit number"),
        (made(tensors=(tensor(dims=2**32 - 1),)), "has 4,294,967,295 dimensions"),
        (made(tensors=(tensor(shape=(2**63, 2)),), body=99), "impossible shape"),
        (made(tensors=(tensor(shape=(0,)),), body=99), "impossible shape"),
        (made(tensors=(tensor(shape=(2**40, 2**40)),), body=99), "impossible shape"),
        (made(tensors=(tensor(offset=1),), body=999), "not aligned to 32 bytes"),
        (made(tensors=(tensor(shape=(33,), kind=2),), body=999), "no whole blocks"),
        (made(tensors=(tensor(),), body=127), "tensor b'w' ends behind the end of the file"),
        (made(tensors=(tensor(offset=2**63),), body=128), "ends behind the end of the file"),
    ],
)
def test_a_header_that_lies_is_refused_by_the_key_or_the_tensor(tmp_path: Path, data: bytes, problem: str) -> None:
    said = judged(check_gguf, tmp_path / "x", "a.gguf", data)[1]
    assert problem in said
    assert said.startswith("a.gguf is no sound GGUF file: ")


def test_millions_of_empty_strings_are_refused_before_they_cost_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_module, "MAX_STEPS", 1_000)
    bomb = made(key(b"a", ARRAY, array(STRING, 2_000, bytes(8 * 2_000))))
    assert "more parts than any model has" in judged(check_gguf, tmp_path / "x", "a.gguf", bomb)[1]
    bomb = made(key(b"a", ARRAY, array(ARRAY, 2_000, array(U8, 0) * 2_000)))
    assert "more parts than any model has" in judged(check_gguf, tmp_path / "x", "a.gguf", bomb)[1]


def test_a_vocabulary_of_a_million_tokens_is_within_the_bound() -> None:
    assert gguf_module.MAX_STEPS >= 2 * (1_000_000 + 2_000_000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_passes_and_never_more(tmp_path: Path, data: st.DataObject) -> None:
    bytes_ = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 8))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    rule, _ = judged(check_gguf, tmp_path / "x", "a.gguf", bytes(bytes_[: data.draw(st.integers(0, len(bytes_)))]))
    assert rule in ("", "gguf")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_true_beginning_are_refused_or_pass_and_never_more(tmp_path: Path, rest: bytes) -> None:
    rule, _ = judged(check_gguf, tmp_path / "x", "a.gguf", bytes(struct.pack("<4sIQQ", b"GGUF", 3, 2, 2) + rest))
    assert rule in ("", "gguf")
