from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from studio_worker.fetch.resumable_file import Note, ResumableFile, lock_path, source_mark

NOTE = Note(source_mark("https://a.example/x?sig=1"), '"etag"', 100, "a" * 64)


@pytest.fixture
def part(tmp_path: Path) -> ResumableFile:
    return ResumableFile(tmp_path / "a.bin")


def test_a_note_is_read_as_it_was_written(part: ResumableFile) -> None:
    part.restart(NOTE)
    assert part.note() == NOTE
    assert part.progress() == (0, 100)


def test_a_new_start_drops_what_there_was(part: ResumableFile) -> None:
    part.path.write_bytes(b"old")
    part.restart(NOTE)
    assert part.look() == 0
    assert not part.path.exists()


def test_a_whole_file_gets_its_name_and_leaves_nothing_else(part: ResumableFile) -> None:
    part.restart(NOTE)
    part.path.write_bytes(b"whole")
    part.finish()
    assert part.dest.read_bytes() == b"whole"
    assert [path.name for path in part.dest.parent.rglob("*")] == ["a.bin", ".downloads"]


def test_what_has_the_name_already_is_never_overwritten(part: ResumableFile) -> None:
    part.path.write_bytes(b"new")
    part.dest.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        part.finish()
    assert part.dest.read_bytes() == b"precious"


def test_a_link_to_nowhere_that_has_the_name_is_not_written_through(part: ResumableFile, tmp_path: Path) -> None:
    part.path.write_bytes(b"new")
    part.dest.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        part.finish()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("has_other", [False, True])
def test_a_file_system_without_hard_links_renames_and_overwrites_nothing(
    part: ResumableFile, monkeypatch: pytest.MonkeyPatch, has_other: bool
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("studio_worker.fetch.resumable_file.os.link", refuse)
    part.path.write_bytes(b"new")
    if has_other:
        part.dest.write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            part.finish()
    else:
        part.finish()
    assert part.dest.read_bytes() == (b"precious" if has_other else b"new")


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_file_in_the_place_of_a_part_is_replaced_and_not_followed(
    part: ResumableFile, tmp_path: Path, kind: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    part.path.symlink_to(other) if kind == "link" else os.mkfifo(part.path)
    assert part.look() == 0
    os.close(part.open(0))
    assert other.read_bytes() == b"precious"
    assert stat.S_ISREG(part.path.lstat().st_mode)


def test_a_part_opens_at_its_byte_with_nothing_behind(part: ResumableFile) -> None:
    part.path.write_bytes(b"0123456789")
    descriptor = part.open(4)
    os.lseek(descriptor, 4, os.SEEK_SET)
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert part.path.read_bytes() == b"0123x"


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "🦄" * 63])
def test_the_longest_names_have_room_for_part_note_and_lock(tmp_path: Path, name: str) -> None:
    part = ResumableFile(tmp_path / name)
    part.restart(NOTE)
    part.path.write_bytes(b"x")
    lock_path(part.dest).touch()
    part.finish()
    assert part.dest.read_bytes() == b"x"


def test_two_long_names_share_nothing(tmp_path: Path) -> None:
    one, other = (ResumableFile(tmp_path / ("a" * 250 + end)) for end in ("bcdef", "bcdeg"))
    assert one.path != other.path
    assert lock_path(one.dest) != lock_path(other.dest)


def test_the_marks_of_two_urls_differ_and_show_neither() -> None:
    mark = source_mark("https://a.example/x?sig=1")
    assert mark != source_mark("https://a.example/x?sig=2")
    assert "sig" not in mark
