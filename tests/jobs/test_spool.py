"""Files of results: whole under their name, or not there."""

import asyncio
import os
import stat
import time
from contextlib import closing

import pytest

from studio_worker.errors import ConfigError
from studio_worker.jobs import spool as spool_module
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.hang_watch import HangWatch
from studio_worker.jobs.spool import MAX_SPARE_BYTES, MAX_SPARES, Spool


@pytest.fixture
async def spool(tmp_path):
    found = Spool(tmp_path / "state" / "spool", HangWatch(time.monotonic))
    await found.open(())
    yield found
    await found.aclose()


def names(spool):
    return sorted(path.name for path in spool.folder.iterdir())


async def test_a_folder_that_is_open_to_others_is_closed_to_them(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    folder.chmod(0o755)
    (tmp_path / "linked").symlink_to(folder)
    opened = Spool(tmp_path / "linked", HangWatch(time.monotonic))
    await opened.open(())
    await opened.aclose()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_another_users_folder_is_refused_and_nothing_in_it_is_removed(tmp_path, monkeypatch):
    left = tmp_path / "linked" / ("0a" * 16)
    left.parent.mkdir()
    left.write_bytes(b"abc")
    opened = Spool(tmp_path / "linked", HangWatch(time.monotonic))
    with monkeypatch.context() as others:
        others.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(ConfigError, match=f"{left.parent} belongs to the user"):
            await opened.open(())
    assert left.exists()
    await opened.aclose()


async def test_writes_bytes_whole_and_for_nobody_else(spool):
    file = spool.new_file()
    await spool.write(file, b"abc")
    assert file.read_bytes() == b"abc"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(spool) == [file.name]


async def test_moves_a_file_and_says_its_hash(spool, tmp_path):
    made = tmp_path / "made"
    made.write_bytes(b"abc")
    file = spool.new_file()
    assert await spool.take(file, made) == checksum_of([b"abc"])
    assert file.read_bytes() == b"abc"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not made.exists()


async def test_copies_a_file_of_another_file_system(spool, tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.write_bytes(b"abc")
    replace = type(made).replace

    def across(self, target):
        if self == made:
            raise OSError(18, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(type(made), "replace", across)
    file = spool.new_file()
    await spool.take(file, made)
    assert file.read_bytes() == b"abc"


async def test_a_file_that_cannot_be_synced_is_not_kept_and_its_bytes_stay_where_they_were(
    spool, tmp_path, monkeypatch
):
    def broken(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spool_module, "sync_file", broken)
    made = tmp_path / "made"
    made.write_bytes(b"abc")
    with pytest.raises(OSError, match="Input/output"):
        await spool.take(spool.new_file(), made)
    assert made.read_bytes() == b"abc"
    assert names(spool) == []


async def test_bytes_that_cannot_be_synced_are_not_kept_and_not_tried_a_second_time(spool, monkeypatch):
    asked = []

    def broken(descriptor):
        asked.append(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spool_module, "sync_file", broken)
    with pytest.raises(OSError, match="Input/output"):
        await spool.write(spool.new_file(), b"abc")
    assert len(asked) == 1
    assert names(spool) == []


async def test_every_step_is_synced_before_the_next_counts(spool, monkeypatch):
    steps = []
    real_sync, real_folder, real_replace = spool_module.sync_file, spool_module.sync_folder, type(spool.folder).replace
    monkeypatch.setattr(spool_module, "sync_file", lambda fd: (steps.append("file"), real_sync(fd))[1])
    monkeypatch.setattr(spool_module, "sync_folder", lambda at: (steps.append("folder"), real_folder(at))[1])
    monkeypatch.setattr(
        type(spool.folder), "replace", lambda self, to: (steps.append("rename"), real_replace(self, to))[1]
    )
    await spool.write(spool.new_file(), b"abc")
    assert steps == ["file", "rename", "folder"]


async def test_the_file_of_a_settled_result_is_written_over(spool):
    first, second = spool.new_file(), spool.new_file()
    await spool.write(first, b"a long result")
    spool.remove(first.name)
    await spool.write(second, b"another one")
    third = spool.new_file()
    assert third == first
    await spool.write(third, b"short")
    assert third.read_bytes()[:5] == b"short"
    assert names(spool) == sorted([second.name, third.name])


async def test_a_file_that_is_retired_twice_is_written_over_by_one_result(spool):
    file = spool.new_file()
    await spool.write(file, b"x")
    spool.remove(file.name)
    spool.remove(file.name)
    await spool.write(spool.new_file(), b"x")
    assert len({spool.new_file() for _ in range(5)}) == 5


async def test_a_file_that_cannot_be_written_over_is_removed(spool, monkeypatch):
    file = spool.new_file()
    await spool.write(file, b"x")

    def broken(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module, "sync_file", broken)
    with pytest.raises(OSError, match="No space"):
        await spool.write(file, b"y")
    assert names(spool) == []


async def test_few_and_small_files_are_left_to_be_written_over(spool):
    files = [spool.new_file() for _ in range(MAX_SPARES + 2)]
    for file in files:
        await spool.write(file, b"x")
    large = spool.new_file()
    await spool.write(large, bytes(MAX_SPARE_BYTES + 1))
    for file in (large, *files):
        spool.remove(file.name)
    spool.remove("never there")
    # The one thread has done all that when it has written another file, of whose name nothing was known before.
    await spool.write(spool.folder / "another", b"x")
    assert len(names(spool)) == MAX_SPARES + 1
    assert large.name not in names(spool)


async def test_leaves_nothing_but_what_somebody_is_to_get(spool):
    kept, settled = spool.new_file(), spool.new_file()
    await spool.write(kept, b"x")
    await spool.write(settled, b"x")
    spool.remove(settled.name)
    await spool.aclose()
    assert names(spool) == [kept.name]


async def test_removes_at_the_start_what_nobody_wants(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()
    wanted, orphan = "0a" * 16, "0b" * 16
    for name in (wanted, orphan, f"{orphan}.part", "a letter"):
        (folder / name).write_bytes(b"x")
    spool = Spool(folder, HangWatch(time.monotonic))
    await spool.open({wanted})
    assert names(spool) == [wanted, "a letter"]
    await spool.aclose()


async def test_removes_no_file_outside_itself(spool):
    outside = spool.folder.with_name("outside")
    outside.write_bytes(b"mine")
    spool.remove("../outside")
    await spool.write(spool.new_file(), b"abc")
    assert outside.read_bytes() == b"mine"


async def test_sets_aside_what_can_be_moved_although_another_file_cannot(spool, monkeypatch, caplines):
    files = [spool.new_file() for _ in range(3)]
    for file in files:
        await spool.write(file, b"abc")
    real = type(spool.folder).replace

    def replace(self, to):
        if self == files[1]:
            raise OSError(5, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(type(spool.folder), "replace", replace)
    aside = spool.folder.with_name("aside")
    await spool.set_aside(aside)
    assert {file.name for file in aside.iterdir()} == {files[0].name, files[2].name}
    (line,) = [line for line in caplines if line["event"] == "jobs.spool"]
    assert (line["level"], line["file"]) == ("ERROR", files[1].name)
    monkeypatch.undo()
    await spool.open(())
    assert names(spool) == [files[1].name]


async def test_sets_aside_by_copies_where_it_lies_on_another_file_system(spool, monkeypatch):
    file = spool.new_file()
    await spool.write(file, b"abc")
    real = type(spool.folder).replace

    def across(self, to):
        if self == file:
            raise OSError(18, "Invalid cross-device link")
        return real(self, to)

    monkeypatch.setattr(type(spool.folder), "replace", across)
    aside = spool.folder.with_name("aside")
    await spool.set_aside(aside)
    assert (aside / file.name).read_bytes() == b"abc"
    assert names(spool) == []


async def test_says_so_where_its_folder_is_gone(spool):
    spool.folder.rmdir()
    with pytest.raises(OSError, match="spool"):
        await spool.write(spool.new_file(), b"abc")


async def test_a_probe_leaves_nothing_and_makes_the_folder_again(spool):
    spool.folder.rmdir()
    await spool.probe()
    assert names(spool) == []


async def test_a_probe_does_not_make_the_folder_of_the_worker_again(spool):
    spool.folder.rmdir()
    spool.folder.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        await spool.probe()
    assert not spool.folder.parent.exists()


async def test_a_write_that_does_not_come_back_is_noticed(tmp_path):
    """A pipe in the place of the file: it opens when somebody reads, and not before."""
    hangs = HangWatch(time.monotonic, patience_secs=0.0)
    spool = Spool(tmp_path, hangs)
    pipe = spool.new_file()
    os.mkfifo(pipe)
    writing = spool.write(pipe, b"abc")
    async with asyncio.timeout(20):
        while hangs.trouble is None:
            await asyncio.sleep(0.002)
    assert hangs.trouble.code == "disk_hangs"
    with closing(os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb")):
        await asyncio.wait([writing])
    assert hangs.trouble is None
    assert isinstance(writing.exception(), OSError)
    await spool.aclose()
