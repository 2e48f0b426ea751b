"""Processes that left their group are found by what they inherited, and others are left alone."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from studio_worker.engines.strays import MARK, end_strays

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]


@pytest.fixture
def start() -> Iterator[Callable[[str | None], subprocess.Popen[bytes]]]:
    """Starts a process that sleeps, with a mark or without one."""
    started = []

    def start(mark: str | None) -> subprocess.Popen[bytes]:
        environ = dict(os.environ) if mark is None else {**os.environ, MARK: mark}
        process = subprocess.Popen(SLEEP, env=environ, start_new_session=True, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_marked_are_ended_and_nobody_else(start, tmp_path: Path) -> None:
    mine, inner = start(str(tmp_path / "one")), start(str(tmp_path / "one" / "below"))
    others = [start(None), start(str(tmp_path / "two")), start(str(tmp_path / "one-and-more")), start("")]
    assert end_strays(tmp_path / "one", within_secs=20) == []
    assert [psutil.pid_exists(process.pid) for process in (mine, inner)] == [False, False]
    assert [other.poll() for other in others] == [None] * 4


def test_where_nobody_is_marked_nothing_happens(tmp_path: Path) -> None:
    assert end_strays(tmp_path, within_secs=20) == []


def test_what_cannot_be_ended_is_named(start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = start(str(tmp_path))

    def refused(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "kill", refused)
    assert end_strays(tmp_path, within_secs=0.01) == [stray.pid]
