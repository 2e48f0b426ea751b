"""The folders that jobs work in."""

import asyncio
import os
import stat
import threading

import pytest

from studio_worker.errors import ConfigError
from studio_worker.jobs import work_dirs as work_dirs_module
from studio_worker.jobs.work_dirs import MAX_SPARE, WorkDirs


@pytest.fixture
async def work_dirs(tmp_path):
    found = WorkDirs(tmp_path / "work")
    await found.open()
    yield found
    await found.aclose()


async def handed(work_dirs, *folders):
    for folder in folders:
        work_dirs.give_back(folder)
    await asyncio.sleep(0)


async def gone(folder):
    async with asyncio.timeout(10):
        while folder.exists():
            await asyncio.sleep(0.005)


async def test_a_folder_that_is_open_to_others_is_closed_to_them(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    folder.chmod(0o755)
    (tmp_path / "linked").symlink_to(folder)
    opened = WorkDirs(tmp_path / "linked")
    await opened.open()
    await opened.aclose()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_another_users_folder_is_refused_and_nothing_in_it_is_removed(tmp_path, monkeypatch):
    left = tmp_path / "linked" / ("0a" * 8)
    left.mkdir(parents=True)
    opened = WorkDirs(tmp_path / "linked")
    with monkeypatch.context() as others:
        others.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(ConfigError, match=f"{left.parent} belongs to the user"):
            await opened.open()
    assert left.exists()
    await opened.aclose()


async def test_a_folder_is_empty_private_and_like_no_other(work_dirs):
    first, second = work_dirs.make(), work_dirs.make()
    assert first != second
    assert list(first.iterdir()) == []
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


async def test_a_removed_folder_is_gone_with_all_that_is_in_it(work_dirs):
    folder = work_dirs.make()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "file").write_bytes(b"x")
    await work_dirs.remove(folder)
    assert not folder.exists()


async def test_removing_what_is_gone_is_no_error(work_dirs):
    folder = work_dirs.make()
    folder.rmdir()
    await work_dirs.remove(folder)


async def test_a_discarded_folder_is_gone_soon(work_dirs):
    folders = [work_dirs.make() for _ in range(5)]
    for folder in folders:
        work_dirs.discard(folder)
    for folder in folders:
        await gone(folder)


async def test_folders_discarded_while_others_are_removed_go_too(work_dirs):
    first, second = work_dirs.make(), work_dirs.make()
    work_dirs.discard(first)
    await gone(first)
    work_dirs.discard(second)
    await gone(second)


async def test_an_untouched_folder_goes_to_the_next_job(work_dirs):
    folder = work_dirs.make()
    await handed(work_dirs, folder)
    assert work_dirs.make() == folder
    assert work_dirs.make() != folder


async def test_a_folder_with_something_in_it_goes_to_nobody(work_dirs):
    folder = work_dirs.make()
    (folder / "file").write_bytes(b"x")
    await handed(work_dirs, folder)
    assert work_dirs.make() != folder
    await gone(folder)


async def test_a_folder_that_somebody_removed_goes_to_nobody(work_dirs):
    folder = work_dirs.make()
    folder.rmdir()
    await handed(work_dirs, folder)
    assert work_dirs.make() != folder


async def test_only_a_few_folders_are_held_for_the_next_jobs(work_dirs):
    folders = [work_dirs.make() for _ in range(MAX_SPARE + 1)]
    await handed(work_dirs, *folders)
    await gone(folders[-1])
    assert all(folder.exists() for folder in folders[:-1])


async def test_the_next_start_removes_what_was_left(tmp_path):
    root = tmp_path / "work"
    left = root / ("0f" * 8)
    (left / "deep").mkdir(parents=True)
    (left / "file").write_bytes(b"x")
    work_dirs = WorkDirs(root)
    await work_dirs.open()
    assert list(root.iterdir()) == []
    await work_dirs.aclose()


async def test_what_is_not_a_jobs_folder_stays(tmp_path):
    root = tmp_path / "work"
    (root / "thesis").mkdir(parents=True)
    (root / "thesis" / "file").write_bytes(b"x")
    (root / "notes").write_bytes(b"x")
    target = tmp_path / "elsewhere"
    target.mkdir()
    (root / ("0f" * 8)).symlink_to(target)
    work_dirs = WorkDirs(root)
    await work_dirs.open()
    await work_dirs.aclose()
    assert sorted(path.name for path in root.iterdir()) == ["0f" * 8, "notes", "thesis"]
    assert (root / "thesis" / "file").exists()
    assert target.exists()


async def test_a_disk_that_hangs_holds_up_no_end(tmp_path, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()

    def hang(folders):
        reached.set()
        go_on.wait(30)

    work_dirs = WorkDirs(tmp_path / "work")
    await work_dirs.open()
    monkeypatch.setattr(work_dirs_module, "PATIENCE_SECS", 0.01)
    monkeypatch.setattr(work_dirs_module, "_remove", hang)
    work_dirs.discard(work_dirs.make())
    async with asyncio.timeout(10):
        while not reached.is_set():
            await asyncio.sleep(0.005)
        await work_dirs.aclose()
        # What it waits for is no thread that the end of the loop, or of the process, is held up by.
        await asyncio.get_running_loop().shutdown_default_executor()
    assert not go_on.is_set()
    go_on.set()


async def test_closing_removes_everything(tmp_path):
    work_dirs = WorkDirs(tmp_path / "work")
    await work_dirs.open()
    work_dirs.discard(work_dirs.make())
    work_dirs.give_back(work_dirs.make())
    work_dirs.make()
    await work_dirs.aclose()
    assert list((tmp_path / "work").iterdir()) == []


async def test_says_so_where_the_root_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        await WorkDirs(tmp_path / "file" / "work").open()


async def test_a_folder_that_is_older_than_a_tick_is_looked_at_by_its_time_and_still_never_handed_on_used(work_dirs):
    folder = work_dirs.make()
    await handed(work_dirs, folder)
    os.utime(folder, ns=(0, 0))
    work_dirs._spare = [(folder, 0)]
    again = work_dirs.make()
    assert again == folder
    (again / "left").write_text("by a job")
    await handed(work_dirs, again)
    assert work_dirs.make() != folder


async def test_the_root_is_made_again_where_somebody_removed_it(work_dirs, tmp_path):
    (tmp_path / "work").rmdir()
    assert work_dirs.make().parent == tmp_path / "work"


async def test_a_state_folder_that_is_gone_is_not_made_again(tmp_path):
    work_dirs = WorkDirs(tmp_path / "state" / "work")
    with pytest.raises(FileNotFoundError):
        work_dirs.make()
    assert not (tmp_path / "state").exists()
