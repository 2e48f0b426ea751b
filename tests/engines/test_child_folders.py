"""Folders for the temporary files of engines: private, and gone after a worker that was killed."""

import asyncio
import os
import shutil
import signal
import stat
import sys
from pathlib import Path

import pytest

import studio_worker
from studio_worker.engines.child_folders import LOCK, PREFIX, ChildFolders
from studio_worker.errors import EngineError

from .processes import is_running


@pytest.fixture
def folders(tmp_path):
    found = ChildFolders(tmp_path)
    yield found
    found.close()


def test_each_child_has_a_private_folder_of_its_own(folders):
    one, two = folders.make(), folders.make()
    assert one != two
    assert one.parent == two.parent
    assert {stat.S_IMODE(path.stat().st_mode) for path in (one, two, one.parent)} == {0o700}


def test_a_folder_goes_with_its_child_and_all_of_them_at_the_end(folders, tmp_path):
    one = folders.make()
    (one / "deep").mkdir()
    folders.remove(one)
    assert not one.exists()
    folders.make()
    folders.close()
    assert list(tmp_path.iterdir()) == []


def test_after_the_end_it_can_begin_anew(folders):
    folders.make()
    folders.close()
    assert folders.make().is_dir()


def test_where_a_cleaner_took_its_folder_it_begins_anew(folders, tmp_path):
    shutil.rmtree(folders.make().parent)
    assert folders.make().is_dir()


def test_a_living_workers_folders_are_left_alone(folders, tmp_path):
    mine = folders.make()
    ChildFolders(tmp_path).sweep()
    folders.sweep()
    assert mine.is_dir()


def test_only_folders_of_its_own_prefix_are_swept(tmp_path):
    for prefix in ("one-", "two-"):
        dead = tmp_path / f"{prefix}dead"
        dead.mkdir()
        (dead / LOCK).touch()
    ChildFolders(tmp_path, prefix="one-").sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["two-dead"]


def test_folders_of_a_worker_that_has_not_locked_them_yet_are_left_alone(tmp_path):
    new = tmp_path / f"{PREFIX}new"
    new.mkdir()
    ChildFolders(tmp_path).sweep()
    assert new.is_dir()


def test_a_link_is_not_followed_and_other_peoples_folders_are_not_touched(tmp_path, monkeypatch):
    root, precious = tmp_path / "tmp", tmp_path / "precious"
    root.mkdir()
    precious.mkdir()
    (precious / LOCK).touch()
    (root / f"{PREFIX}link").symlink_to(precious)
    theirs = root / f"{PREFIX}theirs"
    theirs.mkdir()
    (theirs / LOCK).touch()
    monkeypatch.setattr(os, "getuid", lambda: -5)
    ChildFolders(root).sweep()
    assert theirs.is_dir()
    monkeypatch.undo()
    ChildFolders(root).sweep()
    assert not theirs.exists()
    assert precious.is_dir()


def test_a_place_that_is_not_there_is_no_error(tmp_path):
    ChildFolders(tmp_path / "nowhere").sweep()


WORKER = """
import os, subprocess, sys
sys.path.insert(0, {home!r})
from pathlib import Path
from studio_worker.errors import EngineError
from studio_worker.engines.child_folders import ChildFolders
from studio_worker.engines.strays import MARK
folders = ChildFolders(Path({root!r}))
folder = folders.make()
(folder / "large").write_bytes(bytes(1000))
stray = [sys.executable, "-c", "import time; time.sleep(600)"]
marked = {{**os.environ, MARK: str(folder)}}
no = subprocess.DEVNULL
stray = subprocess.Popen(stray, env=marked, start_new_session=True, stdin=no, stdout=no, stderr=no)
print(folder, stray.pid, flush=True)
sys.stdin.read()
"""


async def test_what_a_killed_worker_left_is_ended_and_removed_by_the_next_host_that_starts(bench, tmp_path):
    root = tmp_path / "tmp"
    root.mkdir()
    code = WORKER.format(home=str(Path(studio_worker.__file__).parents[1]), root=str(root))
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    path, stray = (await asyncio.wait_for(worker.stdout.readline(), 30)).decode().split()
    left = Path(path)
    host = bench.host(folders=ChildFolders(root))
    await host.start()
    assert (left / "large").is_file()
    assert is_running(int(stray))
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    await host.start()
    assert not is_running(int(stray))
    assert not left.parent.exists()
    assert list(root.iterdir()) == []


async def test_a_place_that_cannot_be_written_fails_the_job_by_name(workshop, tmp_path):
    host = workshop.host(folders=ChildFolders(tmp_path / "nowhere"))
    with pytest.raises(Exception, match="the process of engine 'toy' could not be started: No such file") as caught:
        await workshop.run(host)
    assert caught.value.retryable


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: the list of a process's open files")
async def test_a_process_that_cannot_be_started_keeps_no_descriptor(workshop, tmp_path):
    host = workshop.host(folders=ChildFolders(tmp_path / "nowhere"))
    counts = []
    for _ in range(4):
        with pytest.raises(EngineError):
            await workshop.run(host)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[0] == counts[-1]
