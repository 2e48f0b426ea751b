from __future__ import annotations

import bz2
import io
import pickle
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio_worker.models.formats import archives
from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.models.formats.pickles import check_head, check_pickles
from studio_worker.models.preflight import preflight

from .judging import judged
from .test_gguf import SOUND as GGUF
from .test_safetensors import SOUND as SAFETENSORS


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("owned",))


def zipped(*members: tuple[str, bytes], before: bytes = b"", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return before + buffer.getvalue()


def numpy_file(descr: str) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(99)


def tar(name: str, data: bytes, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def long_first(length: int) -> bytes:
    """A pickle without a mark at its start, behind a string that nothing is made of."""
    return b"X" + struct.pack("<I", length) + b"a" * length + b"0" + pickle.dumps(Evil(), 1)


def directory(count: int, *, claimed: int | None = None, before: bytes = b"") -> bytes:
    """An archive of entries without files, with the end of 64 bits that one of more than 65,535 has."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, *[0] * 3, 1, *[0] * 6) + b"a"
    entries, said = entry * count, count if claimed is None else claimed
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, said, said, len(entries), len(before))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(before) + len(entries), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return before + entries + end + locator + last


HOSTILE = (
    long_first(65_530),
    long_first(70_000),
    b"(1" + pickle.dumps(Evil(), 4),
    tar("pickle", pickle.dumps(Evil(), 2)),
    numpy_file('"|O"'),
    numpy_file(" " * 5_000 + "'|O'"),
    zipped(("archive/data", pickle.dumps(Evil(), 4))),
    zipped(("a", long_first(70_000))),
    zipped(("a.npy", numpy_file('"|O"'))),
    zipped(("a.npy", numpy_file(" " * 5_000 + "'|O'"))),
    zipped(("a", zipped(("data.pkl", b"x")))),
    directory(2),
    directory(20_000),
)
"""Files that run code when they are opened, or take more memory than any model, under whatever name."""


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.safetensors", "model.gguf", "model"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_by_its_content_whatever_its_name_says(tmp_path: Path, name: str, protocol: int) -> None:
    said = judged(check_pickles, tmp_path / "x", name, pickle.dumps([Evil(), {"a": 1}], protocol=protocol))[1]
    assert "runs code when it is opened (it" in said
    assert "(rule: pickle)" in said


@pytest.mark.parametrize(
    "data",
    [
        zipped(("archive/data.pkl", b"x"), ("archive/data/0", b"y")),
        zipped(("DATA.PICKLE", b"x")),
        zipped(("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")),
        zipped(("inner.pt", pickle.dumps({}, protocol=4))),
        zipped(("readme", b"x"), ("data.pkl", b"x"), compression=zipfile.ZIP_DEFLATED),
        zipped((".pkl", b"x")),
        zipped(("a.npy", numpy_file("'|O'"))),
        zipped(("a", pickle.dumps(Evil(), 0))),
        zipped(("a.safetensors", pickle.dumps({}, 4))),
        zipped(("a.ckpt", SAFETENSORS)),
        numpy_file("'O'"),
    ],
)
def test_a_pickle_inside_is_refused_too(tmp_path: Path, data: bytes) -> None:
    assert "(rule: pickle)" in judged(check_pickles, tmp_path / "x", "model.bin", data)[1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02"[:1],
        b"GGUF" + bytes(99),
        bytes(5_000),
        b"the\nand\nof\n" * 500,
        b"the\ncat\ni\nwas\nclass\n" * 200,
        b"i\nam\n",
        b"[PAD]\n[UNK]\n",
        b'{"a": 1}',
        zipped(("weights.bin", b"\x00" * 99), ("config.json", b"{}")),
        zipped(
            ("a.npy", numpy_file("'<f4'")), ("b/", b""), ("b/c.txt", b"cat\ndog\n"), compression=zipfile.ZIP_DEFLATED
        ),
        zipped(("a.safetensors", struct.pack("<Q", 640) + b'{"a"')),
        zipped(),
        numpy_file("'<f4'"),
        b"lmgg" + bytes(99),
        b"\x06\0\0\0\x0c\0WhisperSpec",
        b"the weights of nothing " * 5_000,
        bytes(range(1, 251)) * 400,
        b"\x0a\x0e\x0a\x05<unk>" * 9_000,
    ],
)
def test_what_holds_no_pickle_passes(tmp_path: Path, data: bytes) -> None:
    assert judged(check_pickles, tmp_path / "x", "model.bin", data)[1] == ""


@pytest.mark.parametrize("length", [640, 896, 1_152, 1_408])
def test_a_safetensors_header_whose_length_reads_like_a_pickle_is_none(length: int) -> None:
    start = struct.pack("<Q", length) + b'{"a"'
    assert start[0] == 0x80
    check_head(start, "a.safetensors")
    with pytest.raises(BadModelFile):
        check_head(start, "a.ckpt")


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n  <HTML lang=en>", b"\xef\xbb\xbf<!doctype HTML>"])
def test_a_page_for_people_is_no_model(tmp_path: Path, page: bytes) -> None:
    said = judged(check_pickles, tmp_path / "x", "a.gguf", page)[1]
    assert "it is an HTML page" in said
    assert "(rule: not-a-model)" in said


def damaged_member(compression: int) -> bytes:
    data = bytearray(zipped(("a.bin", bytes(range(256)) * 40), compression=compression))
    start = data.index(b"a.bin") + 5
    data[start : start + 30] = b"\xff" * 30
    return bytes(data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_cannot_be_unpacked_is_refused_with_a_sentence(tmp_path: Path, compression: int) -> None:
    assert (
        "archive that cannot be read" in judged(check_pickles, tmp_path / "x", "a.bin", damaged_member(compression))[1]
    )


def test_an_archive_without_a_directory_is_refused(tmp_path: Path) -> None:
    assert (
        "archive that cannot be read"
        in judged(check_pickles, tmp_path / "x", "a.bin", zipped(("a", b"x" * 999))[:500])[1]
    )


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
def test_an_archive_that_says_it_has_other_parts_is_refused(tmp_path: Path, before: bytes) -> None:
    data = bytearray(zipped(("a.bin", b"x" * 99), before=before))
    # The end of an archive of 64 bits stands before the end that all have, and names the number of its disks.
    end = data.index(b"PK\x05\x06")
    data[end:end] = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 2)
    rule, said = judged(check_pickles, tmp_path / "x", "a.bin", bytes(data))
    assert rule == "archive"
    assert ("archive that cannot be read" in said) == (not before)


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.bin", b"x" * 99)))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    assert "archive that cannot be read" in judged(check_pickles, tmp_path / "x", "a.bin", bytes(data))[1]


def test_an_archive_of_more_files_than_any_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 5)
    assert (
        "archive of 6 files"
        in judged(check_pickles, tmp_path / "x", "a.bin", zipped(*((str(each), b"") for each in range(6))))[1]
    )


def test_an_archive_that_unpacks_to_gigabytes_is_looked_at_by_its_first_bytes_alone(tmp_path: Path) -> None:
    bomb = zipped(("a.bin", bytes(60_000_000)), compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    assert len(bomb) < 600_000
    assert judged(check_pickles, tmp_path / "x", "a.bin", bomb)[1] == ""


def peak_of(path: Path, words: str) -> int:
    """Bytes of memory that it takes to refuse an archive with `words`."""
    tracemalloc.start()
    try:
        with pytest.raises(BadModelFile, match=rf"{words} \(rule: archive\)$"):
            check_pickles(path, "a.safetensors")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("count", "claimed"), [(1_000_000, None), (1_000_000, 1), (200_000, 9_999)])
@pytest.mark.parametrize("before", [b"", b"GGUF"])
def test_an_archive_is_measured_before_its_directory_is_read(
    tmp_path: Path, count: int, claimed: int | None, before: bytes
) -> None:
    """Python's reader takes four hundred bytes for each entry that is there, whatever number the end claims."""
    path = tmp_path / "x"
    path.write_bytes(directory(count, claimed=claimed, before=before))
    assert peak_of(path, "which no model is") < 2_000_000


def test_a_directory_that_is_measured_as_small_enough_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(directory(archives.MAX_DIRECTORY // 47, claimed=1))
    assert peak_of(path, "cannot be read") < 64_000_000


def test_the_archives_of_a_large_network_are_read(tmp_path: Path) -> None:
    names = (f"model.layers.{each}.self_attention.query_key_value.weight.npy" for each in range(5_000))
    members = [(each, numpy_file("'<f4'")) for each in names]
    assert judged(check_pickles, tmp_path / "x", "a.npz", zipped(*members)) == ("", "")


def test_what_numpy_saves_passes(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    numpy.savez_compressed(tmp_path / "a.npz", one=numpy.zeros((3, 4)), two=numpy.array("text"))
    check_pickles(tmp_path / "a.npz", "a.npz")


def two_directories() -> bytes:
    """One archive to readers that go by the directory's place, and another to those that go by where it ends."""
    evil, good = zipped(("data.pkl", b"x")), zipped(("data.txt", b"x"))
    end = struct.unpack("<4s4H2LH", good[-22:])
    place = struct.unpack("<4s4H2LH", evil[-22:])[6]
    return evil[:-22] + good[:-22] + struct.pack("<4s4H2LH", *end[:6], place, 0)


@pytest.mark.parametrize(
    "data",
    [
        two_directories(),
        zipped(("a.txt", b"x")) + b"more",
        zipped(("a.txt", b"x"))[:-2] + struct.pack("<H", 22) + zipped(("data.pkl", b"x"))[-22:],
        zipped(("a.txt", b"x"), before=zipped(("data.pkl", b"x"))),
        zipped(("a.txt", b"x"))[:-22] + b"between" + zipped(("a.txt", b"x"))[-22:],
        b"PK\x03\x04" + bytes(200),
        b"PK\x05\x06",
        b"PK\x03\x04" + bytes(17),
        b"PK\x06\x07" + bytes(8) + zipped(),
        directory(0)[1:],
        directory(1)[60:],
        zipped(("data.pkl", b"x"), before=b"#!/bin/sh\n"),
        GGUF + zipped(("data.pkl", b"x")),
    ],
)
def test_an_archive_that_only_some_readers_see_is_refused(tmp_path: Path, data: bytes) -> None:
    assert judged(check_pickles, tmp_path / "x", "a.bin", data)[0] == "archive"


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_archive_is_refused(tmp_path: Path, form: int) -> None:
    data = tar("weights.bin", bytes(9), form)
    assert "a tar archive, which no engine opens" in judged(check_pickles, tmp_path / "x", "a.nemo", data)[1]
    header = bytearray(data)
    header[257:265] = bytes(8)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:512]))
    assert judged(check_pickles, tmp_path / "x", "a.bin", bytes(header))[0] == "archive"


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["a.bin", "a.npz", "a.txt", "a", "a.ckpt", "a.pt", "a.safetensors"])
def test_a_hostile_file_is_refused_whatever_it_is_called(tmp_path: Path, name: str, data: bytes) -> None:
    assert judged(check_pickles, tmp_path / "x", name, data)[0] in ("pickle", "archive")


@pytest.mark.parametrize("name", ["a.ckpt", "a.PT", "a.pth", "a.pkl", "a.b.pickle", "a.joblib"])
def test_a_name_of_pickles_is_taken_for_safetensors_and_gguf_alone(tmp_path: Path, name: str) -> None:
    for data in (b"weights" * 99, bytes(99), zipped(("a.npy", numpy_file("'<f4'"))), numpy_file("'<f4'"), b"{}"):
        assert judged(check_pickles, tmp_path / "x", name, data)[0] != ""
    said = judged(check_pickles, tmp_path / "x", name, b"weights" * 99)[1]
    assert "its name is a pickle's, and it is neither safetensors nor GGUF" in said
    for data in (SAFETENSORS, GGUF):
        assert judged(check_pickles, tmp_path / "x", name, data) == ("", "")
        assert judged(check_pickles, tmp_path / "x", name, data[:-100])[0] in ("safetensors", "gguf")
        for length in range(0, 40, 3):
            check_head(data[:length], name)


def test_a_file_that_can_be_a_model_and_a_pickle_is_refused_by_the_name_of_either(tmp_path: Path) -> None:
    """G begins a number of eight bytes, and what a GGUF file counts next can be the length of a text."""
    inner = b"0" + pickle.dumps(Evil(), 1)
    evil = struct.pack("<4sIQQQ", b"GGUF", 3, 0x0E8D00, 0x10000, len(inner)) + inner
    assert is_unpickled(evil)
    for name in ("a.gguf", "a.pt"):
        assert judged(check_pickles, tmp_path / "x", name, evil)[0] == "pickle"


def is_unpickled(data: bytes) -> bool:
    """Whether Python would import something for it; it gets nothing."""

    class Asking(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            raise LookupError

    try:
        Asking(io.BytesIO(data)).load()
    except LookupError:
        return True
    except (pickle.UnpicklingError, ValueError, EOFError):
        return False
    return False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_archive_is_refused_or_passes_and_never_more(tmp_path: Path, data: st.DataObject) -> None:
    compression = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    bytes_ = bytearray(zipped(("a.bin", b"weights" * 40), ("b/data.npy", bytes(99)), compression=compression))
    for _ in range(data.draw(st.integers(1, 8))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    rule, _ = judged(check_pickles, tmp_path / "x", "a.bin", bytes(bytes_[: data.draw(st.integers(0, len(bytes_)))]))
    assert rule in {"pickle", "archive", "not-a-model", ""}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.sampled_from(["a.gguf", "a.onnx", "a.safetensors", "a.bin", "a.pt"]))
def test_any_bytes_under_any_name_are_refused_or_pass_and_never_more(tmp_path: Path, data: bytes, name: str) -> None:
    rule, _ = judged(preflight, tmp_path / "x", name, bytes(data))
    assert rule in ("", "pickle", "archive", "not-a-model", "gguf", "onnx", "safetensors")


def test_a_packed_pickle_is_no_pickle_until_somebody_unpacks_it(tmp_path: Path) -> None:
    assert judged(check_pickles, tmp_path / "x", "a.bin", bz2.compress(pickle.dumps({})))[1] == ""
