from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from studio_worker.errors import JobError, ModelUnavailable
from studio_worker.fetch import disk
from studio_worker.fetch.resumable_file import Note, ResumableFile
from studio_worker.models import intake
from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.models.intake import Taken, Way, take_in
from studio_worker.models.inventory import take_stock
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.shelf import look

DATA = b"weights of my own"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mine.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that makes no link between these folders, as two disks do."""
    real = os.link

    def link(source: Path, dest: Path, **more: object) -> None:
        if Path(source).suffix != ".part":
            raise OSError(18, "Invalid cross-device link")
        real(source, dest, **more)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(os, "link", link)


def left(root: Path) -> list[str]:
    """What lies in the folder but for the locks."""
    return sorted(path.name for path in root.iterdir() if path.name != ".downloads")


def test_a_file_on_the_same_disk_is_linked(source: Path, root: Path, ledger: Ledger):
    taken = take_in(source, root / "a.bin", ledger)
    assert taken == Taken(root / "a.bin", len(DATA), SHA, Way.LINKED)
    assert (root / "a.bin").samefile(source)


def test_a_file_is_copied_where_that_was_asked_for(source: Path, root: Path, ledger: Ledger):
    assert take_in(source, root / "a.bin", ledger, copy=True).way is Way.COPIED
    assert (root / "a.bin").read_bytes() == DATA
    assert not (root / "a.bin").samefile(source)
    assert left(root) == ["a.bin"]


@pytest.mark.usefixtures("no_links")
def test_a_file_on_another_disk_is_copied(source: Path, root: Path, ledger: Ledger):
    taken = take_in(source, root / "a.bin", ledger)
    assert (taken.way, taken.sha256) == (Way.COPIED, SHA)
    assert (root / "a.bin").read_bytes() == DATA


@pytest.mark.parametrize("copy", [False, True])
def test_a_file_that_is_moved_is_gone_from_its_old_place(source: Path, root: Path, ledger: Ledger, copy: bool):
    assert take_in(source, root / "a.bin", ledger, move=True, copy=copy).way is Way.MOVED
    assert not source.exists()
    assert (root / "a.bin").read_bytes() == DATA


def test_what_the_worker_once_downloaded_and_the_operator_adds_is_the_operators(
    source: Path, root: Path, ledger: Ledger
):
    take_in(source, root / "a.bin", ledger)
    seen = look(root / "a.bin")
    assert isinstance(seen, Seen)
    ledger.own(seen, sha256=SHA, url="https://files.example/a.bin", model="m", now=1.0)
    assert take_in(source, root / "a.bin", ledger).way is Way.HERE
    (item,) = take_stock(root, ledger)
    assert not item.is_owned


def test_the_hash_is_remembered_and_the_file_stays_the_operators(source: Path, root: Path, ledger: Ledger):
    take_in(source, root / "a.bin", ledger)
    [item] = take_stock(root, ledger)
    assert (item.known, item.is_owned) == (SHA, False)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("other", [b"another", DATA[::-1]])
def test_another_file_of_that_name_is_never_overwritten(
    source: Path, root: Path, ledger: Ledger, copy: bool, other: bytes
):
    (root / "a.bin").write_bytes(other)
    with pytest.raises(ModelUnavailable, match="another file lies at"):
        take_in(source, root / "a.bin", ledger, copy=copy, move=True)
    assert (root / "a.bin").read_bytes() == other
    assert source.exists()


def test_the_same_file_is_there_already_and_the_original_stays(source: Path, root: Path, ledger: Ledger):
    (root / "a.bin").write_bytes(DATA)
    assert take_in(source, root / "a.bin", ledger, move=True).way is Way.HERE
    assert source.exists()


def test_a_file_is_there_already_when_it_is_added_twice(source: Path, root: Path, ledger: Ledger):
    take_in(source, root / "a.bin", ledger)
    assert take_in(source, root / "a.bin", ledger).way is Way.HERE


@pytest.mark.parametrize("copy", [False, True])
def test_a_file_with_another_hash_than_the_given_one_is_refused(source: Path, root: Path, ledger: Ledger, copy: bool):
    with pytest.raises(ModelUnavailable, match=f"has the SHA-256 {SHA}, and not {'0' * 64}"):
        take_in(source, root / "a.bin", ledger, sha256="0" * 64, copy=copy)
    assert left(root) == []


def test_the_given_hash_may_be_in_capitals(source: Path, root: Path, ledger: Ledger):
    assert take_in(source, root / "a.bin", ledger, sha256=SHA.upper()).sha256 == SHA


def test_a_file_that_no_engine_should_open_is_refused(tmp_path: Path, root: Path, ledger: Ledger):
    source = tmp_path / "a.bin"
    source.write_bytes(b"GGML" + bytes(100))
    with pytest.raises(BadModelFile):
        take_in(source, root / "a.gguf", ledger)
    assert left(root) == []


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "pipe"])
def test_what_is_no_file_is_refused(tmp_path: Path, root: Path, ledger: Ledger, kind: str):
    source = tmp_path / kind
    if kind == "folder":
        source.mkdir()
    elif kind == "empty":
        source.touch()
    elif kind == "pipe":
        os.mkfifo(source)
    with pytest.raises(ModelUnavailable, match=str(source)):
        take_in(source, root / "a.bin", ledger)


def test_of_a_link_the_file_that_it_leads_to_is_taken(source: Path, tmp_path: Path, root: Path, ledger: Ledger):
    (tmp_path / "link").symlink_to(source)
    take_in(tmp_path / "link", root / "a.bin", ledger)
    assert not (root / "a.bin").is_symlink()
    assert (root / "a.bin").samefile(source)


def test_a_file_that_another_process_downloads_now_is_left_to_it(
    source: Path, state: Path, root: Path, ledger: Ledger, another_process
):
    (root / ".downloads").mkdir()
    another_process("download", state, root / "a.bin")
    with pytest.raises(ModelUnavailable, match="is being downloaded now"):
        take_in(source, root / "a.bin", ledger)


def test_a_copy_that_the_disk_has_no_room_for_is_not_begun(
    source: Path, root: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(disk, "RESERVE_BYTES", 2**60)
    with pytest.raises(JobError, match="not enough disk space"):
        take_in(source, root / "a.bin", ledger, copy=True)
    assert left(root) == []


def test_a_copy_that_is_broken_off_leaves_nothing(source: Path, root: Path, ledger: Ledger):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_in(source, root / "a.bin", ledger, copy=True, on_bytes=stop)
    assert left(root) == []


def test_a_copy_on_its_way_is_shown_with_its_length(source: Path, root: Path, ledger: Ledger):
    shown: list[tuple[str, int | None]] = []

    def watch(done: int, total: int) -> None:
        shown.extend((item.name, item.total) for item in take_stock(root, ledger))

    take_in(source, root / "a.bin", ledger, copy=True, on_bytes=watch)
    assert shown == [("a.bin.part", len(DATA))]


def test_a_copy_takes_the_place_of_a_download_that_was_left(source: Path, root: Path, ledger: Ledger):
    part = ResumableFile(root / "a.bin")
    part.restart(Note("https://files.example/a.bin", total=99))
    part.path.write_bytes(b"x" * 50)
    take_in(source, root / "a.bin", ledger, copy=True)
    assert (root / "a.bin").read_bytes() == DATA
    assert left(root) == ["a.bin"]


@pytest.mark.parametrize("copy", [False, True])
def test_the_reading_tells_how_far_it_is(
    source: Path, root: Path, ledger: Ledger, copy: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(intake, "HASH_CHUNK", 10)
    told: list[tuple[int, int]] = []
    take_in(source, root / "a.bin", ledger, copy=copy, on_bytes=lambda *numbers: told.append(numbers))
    assert told[-1] == (len(DATA), len(DATA))
    assert told == sorted(told)
