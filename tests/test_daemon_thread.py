"""Calls that may never come back: they are answered, or left."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from studio_worker.daemon_thread import in_daemon_thread

PATIENCE_SECS = 20


def test_what_a_call_returns_or_raises_is_told():
    assert in_daemon_thread(lambda: 7, name="seven").result(PATIENCE_SECS) == 7
    with pytest.raises(ZeroDivisionError):
        in_daemon_thread(lambda: 1 / 0, name="error").result(PATIENCE_SECS)


def test_each_call_has_a_thread_of_its_own_by_the_name_asked_for():
    calls = [in_daemon_thread(threading.current_thread, name="look") for _ in range(3)]
    threads = [call.result(PATIENCE_SECS) for call in calls]
    assert [thread.name for thread in threads] == ["look"] * 3
    assert all(thread.daemon for thread in threads)
    assert len(set(threads)) == 3


def test_a_call_that_hangs_does_not_keep_its_process():
    code = (
        "import threading; from studio_worker.daemon_thread import in_daemon_thread; "
        "in_daemon_thread(threading.Event().wait, name='hangs'); print('over')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECS, check=True
    )
    assert done.stdout == "over\n"
