from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from studio_worker.errors import AlreadyRunning, ConfigError
from studio_worker.state import StateLock

HOLD = """
import sys
from pathlib import Path
from studio_worker.state import StateLock
with StateLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the state folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_a_second_worker_is_refused_and_the_first_is_named(state_dir: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyRunning, match=rf"another worker \(process {holder.pid}\) uses {state_dir}") as caught:
        StateLock(state_dir).acquire()
    assert caught.value.exit_code == 75


def test_a_refused_worker_leaves_the_holders_files_alone(state_dir: Path, holder: subprocess.Popen[str]) -> None:
    for _ in range(2):
        with pytest.raises(AlreadyRunning, match=str(holder.pid)):
            StateLock(state_dir).acquire()


def test_a_second_worker_is_refused_where_the_lock_file_was_removed(
    state_dir: Path, holder: subprocess.Popen[str]
) -> None:
    (state_dir / "worker.lock").unlink()
    with pytest.raises(AlreadyRunning, match=rf"\(process {holder.pid}\)"):
        StateLock(state_dir).acquire()
    holder.kill()
    holder.wait()
    with StateLock(state_dir):
        pass


def test_a_refused_worker_keeps_no_lock(state_dir: Path, holder: subprocess.Popen[str]) -> None:
    refused = StateLock(state_dir)
    with pytest.raises(AlreadyRunning):
        refused.acquire()
    holder.kill()
    holder.wait()
    with StateLock(state_dir):
        pass


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOLCK, errno.EBADF])
def test_where_folders_cannot_be_locked_the_lock_file_holds(
    number: int, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def of_files_alone(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", of_files_alone)
    for _ in range(2):
        with StateLock(state_dir), pytest.raises(AlreadyRunning):
            StateLock(state_dir).acquire()


def test_a_lock_file_that_an_older_release_holds_is_respected_and_leaves_the_folder_free(state_dir: Path) -> None:
    state_dir.mkdir()
    with FileLock(state_dir / "worker.lock"), pytest.raises(AlreadyRunning):
        StateLock(state_dir).acquire()
    with StateLock(state_dir):
        pass


def test_a_released_folder_keeps_the_pid_of_somebody_else(state_dir: Path) -> None:
    with StateLock(state_dir):
        (state_dir / "worker.pid").write_text("1\n")
    assert (state_dir / "worker.pid").read_text() == "1\n"


def test_no_descriptor_is_left_open(state_dir: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with StateLock(state_dir), pytest.raises(AlreadyRunning):
            StateLock(state_dir).acquire()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_lock_of_a_killed_worker_is_taken_over(state_dir: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with StateLock(state_dir):
        assert (state_dir / "worker.pid").read_text() == f"{os.getpid()}\n"


def test_the_lock_of_a_pid_that_lives_again_as_another_process_is_taken_over(state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "worker.lock").write_text("")
    (state_dir / "worker.pid").write_text("1\n")
    with StateLock(state_dir):
        assert (state_dir / "worker.pid").read_text() != "1\n"


def test_two_workers_of_one_process_cannot_share_a_folder(state_dir: Path) -> None:
    with StateLock(state_dir), pytest.raises(AlreadyRunning, match=str(os.getpid())):
        StateLock(state_dir).acquire()


def test_two_workers_of_one_process_have_a_folder_each(tmp_path: Path) -> None:
    with StateLock(tmp_path / "a"), StateLock(tmp_path / "b"):
        assert (tmp_path / "b" / "worker.pid").exists()


def test_a_released_folder_is_free_and_without_a_pid(state_dir: Path) -> None:
    with StateLock(state_dir):
        pass
    assert not (state_dir / "worker.pid").exists()
    with StateLock(state_dir):
        pass


def test_releasing_what_is_not_held_is_harmless(state_dir: Path) -> None:
    StateLock(state_dir).release()
    assert not state_dir.exists()


@pytest.mark.parametrize("text", ["", "not a pid", "12 34", "\x1b[2J"])
def test_a_pid_file_that_holds_none_is_not_quoted(text: str, state_dir: Path) -> None:
    with StateLock(state_dir):
        (state_dir / "worker.pid").write_text(text)
        with pytest.raises(AlreadyRunning, match="another worker uses"):
            StateLock(state_dir).acquire()


def test_a_folder_that_cannot_be_written_is_refused_with_path_and_remedy() -> None:
    with pytest.raises(ConfigError, match=r"/proc/nowhere cannot be used: .*; make it writable or set state_dir"):
        StateLock(Path("/proc/nowhere")).acquire()


def test_a_state_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        StateLock(tmp_path / "file").acquire()


async def test_a_lock_is_taken_off_the_event_loop_and_given_back(tmp_path: Path):
    first, second = StateLock(tmp_path), StateLock(tmp_path)
    await first.take()
    with pytest.raises(AlreadyRunning):
        await second.take()
    first.release()
    await second.take()
    second.release()


async def test_a_call_that_is_cancelled_leaves_a_lock_that_can_be_given_back(tmp_path: Path):
    lock, other = StateLock(tmp_path), StateLock(tmp_path)
    taking = asyncio.create_task(lock.take())
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    lock.release()
    other.acquire()
    other.release()
