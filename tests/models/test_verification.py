from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from studio_worker.models import shelf
from studio_worker.models.inventory import Item, take_stock
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.shelf import hash_of, look
from studio_worker.models.verification import Verdict, verify

DATA = b"the weights of a model"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    made = tmp_path / "models" / "a.bin"
    made.write_bytes(DATA)
    return made


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def item(path: Path, ledger: Ledger) -> Item:
    [found] = take_stock(path.parent, ledger)
    return found


def own(ledger: Ledger, path: Path, data: bytes = DATA) -> None:
    found = look(path)
    assert isinstance(found, Seen)
    ledger.own(found, sha256=sha(data), url="https://files.example/a.bin", model="m", now=5.0)


def rot(path: Path) -> None:
    """Another byte on the disk, and nothing else."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_with_the_known_hash_is_good(path: Path, ledger: Ledger):
    own(ledger, path)
    found = verify(item(path, ledger), ledger)
    assert (found.verdict, found.sha256, found.problem) == (Verdict.GOOD, sha(DATA), "")


def test_the_hash_of_a_file_that_nobody_knew_is_remembered(path: Path, ledger: Ledger):
    assert verify(item(path, ledger), ledger).verdict is Verdict.NEW
    assert item(path, ledger).known == sha(DATA)
    assert verify(item(path, ledger), ledger).verdict is Verdict.GOOD


def test_a_byte_that_the_disk_has_turned_is_found_and_both_hashes_named(path: Path, ledger: Ledger):
    own(ledger, path)
    rot(path)
    found = verify(item(path, ledger), ledger)
    assert (found.verdict, found.is_changed) == (Verdict.BAD, True)
    assert sha(DATA) in found.problem
    assert sha(path.read_bytes()) in found.problem


def test_a_bad_file_stays_bad_and_its_old_hash_is_not_trusted_any_more(path: Path, ledger: Ledger):
    own(ledger, path)
    rot(path)
    verify(item(path, ledger), ledger)
    record = ledger.record(path)
    assert record is not None
    assert not record.is_of(item(path, ledger).seen)
    assert verify(item(path, ledger), ledger).verdict is Verdict.BAD


def test_a_bad_file_stays_bad_also_when_a_job_has_hashed_it_meanwhile(path: Path, ledger: Ledger):
    own(ledger, path)
    rot(path)
    verify(item(path, ledger), ledger)
    ledger.remember(item(path, ledger).seen, sha(path.read_bytes()))
    found = verify(item(path, ledger), ledger)
    assert (found.verdict, found.item.known) == (Verdict.BAD, sha(DATA))


def test_a_file_that_is_put_right_is_good_and_the_workers_own_again(path: Path, ledger: Ledger):
    own(ledger, path)
    rot(path)
    verify(item(path, ledger), ledger)
    path.write_bytes(DATA)
    assert verify(item(path, ledger), ledger).verdict is Verdict.GOOD
    assert item(path, ledger).is_owned


def test_a_file_that_was_only_touched_is_good(path: Path, ledger: Ledger):
    own(ledger, path)
    os.utime(path, ns=(1, 1))
    assert item(path, ledger).record is None
    assert verify(item(path, ledger), ledger).verdict is Verdict.GOOD
    assert item(path, ledger).record is not None


def test_a_file_that_somebody_replaced_is_bad_until_it_is_accepted(path: Path, ledger: Ledger):
    own(ledger, path)
    path.write_bytes(b"another model")
    assert verify(item(path, ledger), ledger).verdict is Verdict.BAD
    assert verify(item(path, ledger), ledger, accept=True).verdict is Verdict.NEW
    assert verify(item(path, ledger), ledger).verdict is Verdict.GOOD
    assert not item(path, ledger).is_owned


def test_an_empty_file_is_bad(path: Path, ledger: Ledger):
    path.write_bytes(b"")
    found = verify(item(path, ledger), ledger)
    assert (found.verdict, found.problem) == (Verdict.BAD, "a.bin is empty")


@pytest.mark.parametrize(
    ("name", "data", "rule"),
    [
        ("a.gguf", b"GGML" + bytes(100), "gguf"),
        ("a.safetensors", bytes([255] * 100), "safetensors"),
        ("a.onnx", b"\xff" * 100, "onnx"),
        ("a.bin", b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00}." * 40, "pickle"),
    ],
)
def test_a_head_that_no_engine_should_see_is_bad_whatever_the_hash(
    path: Path, ledger: Ledger, name: str, data: bytes, rule: str
):
    path = path.rename(path.with_name(name))
    path.write_bytes(data)
    own(ledger, path, data)
    found = verify(item(path, ledger), ledger)
    assert (found.verdict, found.is_changed) == (Verdict.BAD, False)
    assert f"rule: {rule}" in found.problem


def test_a_bad_head_cannot_be_accepted(path: Path, ledger: Ledger):
    path = path.rename(path.with_name("a.gguf"))
    found = verify(item(path, ledger), ledger, accept=True)
    assert found.verdict is Verdict.BAD
    assert item(path, ledger).known is None


def test_a_link_to_nothing_is_bad(path: Path, ledger: Ledger):
    path.unlink()
    path.symlink_to("nowhere")
    found = verify(item(path, ledger), ledger)
    assert (found.verdict, found.sha256) == (Verdict.BAD, None)
    assert "link to a file that is not there" in found.problem


def test_a_file_that_goes_while_it_is_looked_at_is_bad(path: Path, ledger: Ledger):
    known = item(path, ledger)
    path.unlink()
    found = verify(known, ledger)
    assert found.verdict is Verdict.BAD
    assert "a.bin cannot be read: No such file" in found.problem


def test_a_file_that_is_written_to_while_it_is_read_is_not_judged_by_a_mixture(path: Path, ledger: Ledger):
    own(ledger, path)
    known = item(path, ledger)

    def write(done: int, total: int) -> None:
        path.write_bytes(b"written meanwhile")

    found = verify(known, ledger, on_bytes=write)
    assert (found.verdict, found.problem) == (Verdict.BAD, "a.bin was written to while it was read")
    assert ledger.record(path).sha256 == sha(DATA)  # type: ignore[union-attr]  # it is there, as it was


def test_the_hashing_tells_how_far_it_is(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shelf, "HASH_CHUNK", 10)
    told: list[tuple[int, int]] = []
    assert hash_of(path, len(DATA), lambda *numbers: told.append(numbers)) == sha(DATA)
    assert told == [(10, 22), (20, 22), (22, 22)]
