from __future__ import annotations

import bz2
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio_worker.models.formats import pickles as pickles_module
from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.models.formats.pickles import check_head, check_pickles
from studio_worker.models.preflight import preflight

from .judging import judged


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("owned",))


def zipped(*members: tuple[str, bytes], before: bytes = b"", **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return before + buffer.getvalue()


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.safetensors", "model.gguf", "model"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_by_its_content_whatever_its_name_says(tmp_path: Path, name: str, protocol: int) -> None:
    said = judged(check_pickles, tmp_path / "x", name, pickle.dumps([Evil(), {"a": 1}], protocol=protocol))[1]
    assert "runs code when it is opened (it is a pickle)" in said
    assert "(rule: pickle)" in said


@pytest.mark.parametrize(
    "data",
    [
        zipped(("archive/data.pkl", b"x"), ("archive/data/0", b"y")),
        zipped(("DATA.PICKLE", b"x")),
        zipped(("a.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")),
        zipped(("inner.pt", pickle.dumps({}, protocol=4))),
        zipped(("readme", b"x"), ("data.pkl", b"x"), compression=zipfile.ZIP_DEFLATED),
        zipped(("data.pkl", b"x"), before=b"#!/bin/sh\n"),
        b"\x93NUMPY\x01\x00v\x00{'descr': 'O', 'fortran_order': False, 'shape': (1,), }\n" + bytes(99),
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
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n" + bytes(99),
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
    data = bytearray(zipped(("a.pt", bytes(range(256)) * 40), compression=compression))
    start = data.index(b"a.pt") + 4
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
def test_an_archive_that_says_it_has_other_parts_is_refused_or_is_none(tmp_path: Path, before: bytes) -> None:
    data = bytearray(zipped(("a.pt", b"x" * 99), before=before))
    # The end of an archive of 64 bits stands before the end that all have, and names the number of its disks.
    end = data.index(b"PK\x05\x06")
    data[end:end] = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 2)
    rule, said = judged(check_pickles, tmp_path / "x", "a.bin", bytes(data))
    assert rule == ("" if before else "archive")
    assert ("archive that cannot be read" in said) == (not before)


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(("a.pt", b"x" * 99)))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    assert "archive that cannot be read" in judged(check_pickles, tmp_path / "x", "a.bin", bytes(data))[1]


def test_an_archive_of_more_files_than_any_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles_module, "_MAX_MEMBERS", 5)
    assert (
        "archive of 6 files"
        in judged(check_pickles, tmp_path / "x", "a.bin", zipped(*((str(each), b"") for each in range(6))))[1]
    )


def test_an_archive_that_unpacks_to_gigabytes_is_looked_at_by_its_first_bytes_alone(tmp_path: Path) -> None:
    bomb = zipped(("a.pt", bytes(60_000_000)), compression=zipfile.ZIP_DEFLATED, compresslevel=1)
    assert len(bomb) < 600_000
    assert judged(check_pickles, tmp_path / "x", "a.bin", bomb)[1] == ""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_archive_is_refused_or_passes_and_never_more(tmp_path: Path, data: st.DataObject) -> None:
    compression = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    bytes_ = bytearray(zipped(("a.pt", b"weights" * 40), ("b/data.npy", bytes(99)), compression=compression))
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
