from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from studio_worker.fetch.leftovers import KEEP_SECS, sweep
from studio_worker.fetch.resumable_file import Note, ResumableFile, lock_path, source_mark

NOW = 2_000_000_000.0
NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def part_of(dest: Path, *, age_secs: float, data: bytes = b"some") -> ResumableFile:
    """A part that was last touched so long ago."""
    dest.parent.mkdir(exist_ok=True)
    part = ResumableFile(dest)
    part.restart(Note(source_mark("https://gone.example/a"), '"1"', 100))
    part.path.write_bytes(data)
    for path in (part.path, dest.parent / ".downloads" / f"{dest.name}.json"):
        os.utime(path, (NOW - age_secs, NOW - age_secs))
    return part


def test_a_part_that_nobody_asked_for_in_a_week_goes_with_its_note(root: Path) -> None:
    part = part_of(root / "a.bin", age_secs=KEEP_SECS + 1)
    assert sweep(root, now=NOW) == 4
    assert part.note() is None
    assert not part.path.exists()


def test_a_younger_part_stays(root: Path) -> None:
    part = part_of(root / "a.bin", age_secs=KEEP_SECS - 1)
    assert sweep(root, now=NOW) == 0
    assert part.look() == 4


def test_a_part_in_a_folder_of_its_own_goes_too(root: Path) -> None:
    part = part_of(root / "model-12345678" / "a.bin", age_secs=KEEP_SECS + 1)
    assert sweep(root, now=NOW) == 4
    assert not part.path.exists()


def test_a_part_beside_its_whole_file_goes_at_once_and_the_file_stays(root: Path) -> None:
    part = part_of(root / "a.bin", age_secs=0)
    os.link(part.path, root / "a.bin")
    sweep(root, now=NOW)
    assert not part.path.exists()
    assert (root / "a.bin").read_bytes() == b"some"


def test_a_part_that_a_process_is_at_stays(root: Path) -> None:
    part = part_of(root / "a.bin", age_secs=KEEP_SECS + 1)
    with FileLock(lock_path(root / "a.bin"), timeout=0):
        assert sweep(root, now=NOW) == 0
    assert part.look() == 4


def test_a_part_of_somebody_else_is_never_touched(root: Path) -> None:
    theirs = root / "browser.part"
    theirs.write_bytes(b"mine")
    os.utime(theirs, (0, 0))
    part_of(root / "a.bin", age_secs=KEEP_SECS + 1)
    sweep(root, now=NOW)
    assert theirs.read_bytes() == b"mine"


def test_a_note_without_a_part_goes_when_it_is_old(root: Path) -> None:
    part = part_of(root / "a.bin", age_secs=KEEP_SECS + 1)
    part.path.unlink()
    sweep(root, now=NOW)
    assert part.note() is None


def test_no_link_to_a_folder_is_followed(root: Path, tmp_path: Path) -> None:
    elsewhere = part_of(tmp_path / "elsewhere" / "a.bin", age_secs=KEEP_SECS + 1)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert sweep(root, now=NOW) == 0
    assert elsewhere.look() == 4


def test_a_link_in_the_place_of_a_part_is_removed_and_not_followed(root: Path, tmp_path: Path) -> None:
    part = part_of(root / "a.bin", age_secs=KEEP_SECS + 1)
    part.path.unlink()
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    part.path.symlink_to(precious)
    sweep(root, now=NOW + 10**9)
    assert precious.read_bytes() == b"mine"
    assert not part.path.is_symlink()


def test_a_folder_in_the_place_of_a_part_is_left_alone(root: Path) -> None:
    part = part_of(root / "a.bin", age_secs=KEEP_SECS + 1)
    part.path.unlink()
    part.path.mkdir()
    sweep(root, now=NOW + 10**9)
    assert part.path.is_dir()


def test_a_models_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "nowhere", now=NOW) == 0


@pytest.mark.parametrize("is_here", [False, True])
def test_a_part_whose_process_has_just_tidied_up_is_passed_over(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplines: list[dict[str, object]], is_here: bool
) -> None:
    class Late(FileLock):
        """Held by another process until it has brought or discarded its file."""

        def acquire(self, *args: Any, **kwargs: Any) -> Any:
            ResumableFile(root / "a.bin").discard()
            if is_here:
                (root / "a.bin").write_bytes(b"whole")
            return super().acquire(*args, **kwargs)

    part_of(root / "a.bin", age_secs=0)
    old = part_of(root / "b.bin", age_secs=KEEP_SECS + 1)
    monkeypatch.setattr("studio_worker.fetch.leftovers.FileLock", Late)
    assert sweep(root, now=NOW) == 4
    assert not old.path.exists()
    assert [line["file"] for line in caplines if line["event"] == "fetch.swept"] == ["b.bin"]


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may look everywhere; nobody may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_the_worker_may_not_look_into_holds_nothing_of_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``lost+found`` on a disk of its own, which is root's."""
    closed = root / "lost+found"
    closed.mkdir(mode=0)
    root.chmod(0o755)
    # Folders above the test's own are closed to nobody, too.
    monkeypatch.chdir(root)
    with without_rights():
        assert sweep(Path(), now=NOW) == 0
    closed.chmod(0o700)
