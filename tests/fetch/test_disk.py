from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.disk import FACTOR, RESERVE_BYTES, DiskSpace
from studio_worker.fetch.transfer import STEP_BYTES

from .file_server import DATA, FileServer, endless, say, up_to

GIB = 2**30


def with_free(free: int) -> DiskSpace:
    return DiskSpace(lambda folder: free)


@pytest.mark.parametrize(("free", "missing", "fits"), [(10, 8, True), (10, 9, False), (1, 1, False), (0, 0, True)])
def test_a_disk_must_hold_what_is_missing_a_twentieth_more_and_a_reserve(
    tmp_path: Path, free: int, missing: int, fits: bool
) -> None:
    disk = with_free(free * GIB)
    if fits:
        disk.check(tmp_path, missing * GIB, "a model")
    else:
        with pytest.raises(ModelUnavailable):
            disk.check(tmp_path, missing * GIB, "a model")


def test_the_refusal_names_both_numbers_the_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as error:
        with_free(GIB).check(tmp_path, 100, "model file a.bin")
    for words in (
        "model file a.bin",
        f"{RESERVE_BYTES + 105:,} bytes",
        f"{GIB:,} are free",
        str(tmp_path),
        "models_root",
    ):
        assert words in str(error.value)
    assert error.value.retryable


def test_two_downloads_that_fit_one_by_one_do_not_fit_together(tmp_path: Path) -> None:
    disk = with_free(10 * GIB)
    first = disk.reserve(tmp_path, 6 * GIB, "the first")
    with pytest.raises(ModelUnavailable, match="the second and other downloads"):
        disk.reserve(tmp_path, 6 * GIB, "the second")
    first.release()
    disk.reserve(tmp_path, 6 * GIB, "the second")


def test_what_the_other_has_written_counts_no_more(tmp_path: Path) -> None:
    disk = with_free(10 * GIB)
    disk.reserve(tmp_path, 6 * GIB, "the first").written(5 * GIB)
    disk.reserve(tmp_path, 6 * GIB, "the second")


def test_a_check_holds_nothing(tmp_path: Path) -> None:
    disk = with_free(10 * GIB)
    for _ in range(3):
        disk.check(tmp_path, 6 * GIB, "a model")


def test_a_folder_that_is_still_to_be_made_lies_on_the_disk_of_the_one_above(tmp_path: Path) -> None:
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return 10 * GIB

    DiskSpace(free).check(tmp_path / "not" / "yet", GIB, "a model")
    assert asked == [tmp_path]


@pytest.fixture
def lost_drive(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a drive that is not plugged in, as ``Z:\\models`` of Windows: nothing above it is there either."""
    folder, exists = Path("/z/models"), Path.exists
    lost = (folder, *folder.parents)
    monkeypatch.setattr(Path, "exists", lambda path, **more: path not in lost and exists(path, **more))
    return folder


def test_a_drive_that_is_not_there_is_told_as_trouble_with_the_disk(lost_drive: Path) -> None:
    for ask in (DiskSpace().check, DiskSpace().reserve):
        with pytest.raises(FileNotFoundError, match="neither /z/models nor a folder above it is there"):
            ask(lost_drive, 1, "a model")


def test_a_disk_of_which_nobody_knows_the_room_is_tried(tmp_path: Path, caplines: list[dict[str, Any]]) -> None:
    def free(folder: Path) -> int:
        raise OSError("no such call here")

    DiskSpace(free).check(tmp_path, 10**15, "a model")
    assert [line["event"] for line in caplines] == ["fetch.disk_unknown"]


def test_the_real_disk_is_asked_by_default(tmp_path: Path) -> None:
    DiskSpace().check(tmp_path, 1, "a model")
    with pytest.raises(ModelUnavailable):
        DiskSpace().check(tmp_path, 2**60, "a model")


async def test_a_download_that_does_not_fit_is_refused_before_its_bytes_come_and_not_tried_again(
    server: FileServer, pull: Any
) -> None:
    pull.options = {"disk": with_free(RESERVE_BYTES)}
    with pytest.raises(ModelUnavailable, match="not enough disk space"):
        await pull()
    assert len(server.asked) == 1
    assert not pull.part.exists()


async def test_a_resume_needs_room_for_the_rest_alone(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000)]
    free = iter([RESERVE_BYTES + 2 * len(DATA), RESERVE_BYTES + len(DATA) // 2])
    pull.options = {"disk": DiskSpace(lambda folder: next(free))}
    await pull()
    assert pull.dest.read_bytes() == DATA


async def test_the_room_of_a_failed_download_is_given_back(server: FileServer, pull: Any) -> None:
    disk = with_free(RESERVE_BYTES + len(DATA) * 3 // 2)
    pull.options = {"disk": disk}
    server.script = [up_to(10)] * 3
    await pull()
    disk.check(pull.dest.parent, len(DATA), "a model")


def test_what_will_have_gone_by_then_counts_as_free(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"x")
    disk = with_free(GIB)
    disk.check(tmp_path, 100, "a model", freed=[(old, 105)])
    for freed in ([(old, 104)], [(tmp_path / "gone", 105)], [(Path("/proc/version"), 105)]):
        with pytest.raises(ModelUnavailable):
            disk.check(tmp_path, 100, "a model", freed=freed)


SHA = "a" * 64
ONE_STEP = RESERVE_BYTES + int(STEP_BYTES * FACTOR)


def filled_by(part: Path, room: int) -> DiskSpace:
    """A disk that has so many bytes beyond the reserve while nothing of `part` lies on it."""
    return DiskSpace(lambda folder: RESERVE_BYTES + room - (part.stat().st_size if part.exists() else 0))


async def test_a_body_without_an_end_stops_at_the_reserve_and_its_part_goes(server: FileServer, pull: Any) -> None:
    pull.options = {"disk": filled_by(pull.part, 3 * STEP_BYTES)}
    server.script = [endless] * 10
    with pytest.raises(ModelUnavailable) as error:
        await pull(sha256=SHA)
    for words in (
        "not enough disk space for model file a.bin:",
        str(pull.dest.parent),
        f"{ONE_STEP:,} bytes are needed",
    ):
        assert words in str(error.value)
    assert error.value.retryable
    assert len(server.asked) == 1
    assert STEP_BYTES <= pull.told[-1][0] <= 4 * STEP_BYTES
    assert not pull.part.exists()


async def test_a_body_of_unknown_length_wants_the_room_of_a_step_before_its_bytes_come(
    server: FileServer, pull: Any
) -> None:
    pull.options = {"disk": with_free(ONE_STEP - 1)}
    server.script = [endless]
    with pytest.raises(ModelUnavailable):
        await pull(sha256=SHA)
    assert pull.told == []


@pytest.mark.parametrize("expected", [0, len(DATA)])
async def test_a_part_that_may_have_no_end_makes_room_again_at_the_next_try(
    server: FileServer, pull: Any, expected: int
) -> None:
    server.script = [endless, endless]
    task = asyncio.create_task(pull(sha256=SHA))
    await pull.heard(500_000)
    task.cancel()
    await asyncio.wait([task])
    assert pull.part.stat().st_size >= 500_000
    pull.options = {"disk": with_free(ONE_STEP - 1)}
    with pytest.raises(ModelUnavailable):
        await pull(sha256=SHA, expected=expected)
    assert pull.part.exists() == bool(expected)


async def test_a_body_of_unknown_length_comes_where_there_is_room(server: FileServer, pull: Any) -> None:
    server.data = DATA * 20
    disk = with_free(ONE_STEP)
    pull.options = {"disk": disk}
    server.script = [say(200)]
    await pull(sha256=hashlib.sha256(server.data).hexdigest())
    assert pull.dest.read_bytes() == server.data
    disk.check(pull.dest.parent, STEP_BYTES, "the room was given back")


async def test_a_file_of_known_length_is_weighed_once(server: FileServer, pull: Any) -> None:
    server.data = DATA * 20
    asked: list[Path] = []

    def free(folder: Path) -> int:
        asked.append(folder)
        return 10 * GIB

    pull.options = {"disk": DiskSpace(free)}
    await pull()
    assert len(asked) == 1


async def test_whoever_wants_the_file_is_told_how_long_it_has_become_and_may_end_it(
    server: FileServer, pull: Any
) -> None:
    def grown(size: int) -> None:
        sizes.append(size)
        if len(sizes) == 3:
            raise ModelUnavailable("enough")

    sizes: list[int] = []
    pull.options = {"disk": with_free(10 * GIB)}
    server.script = [endless]
    with pytest.raises(ModelUnavailable, match="enough"):
        await pull(sha256=SHA, grown=grown)
    assert all(size >= step * STEP_BYTES for step, size in enumerate(sizes, 1))
    assert not pull.part.exists()


def test_a_reservation_that_grows_counts_for_the_others(tmp_path: Path) -> None:
    disk = with_free(10 * GIB)
    first = disk.reserve(tmp_path, 2 * GIB, "the first")
    disk.extend(first, tmp_path, 4 * GIB, "the first")
    with pytest.raises(ModelUnavailable, match="the second and other downloads"):
        disk.reserve(tmp_path, 6 * GIB, "the second")
    with pytest.raises(ModelUnavailable):
        disk.extend(first, tmp_path, 4 * GIB, "the first")
    first.written(6 * GIB)
    disk.reserve(tmp_path, 6 * GIB, "the second")
