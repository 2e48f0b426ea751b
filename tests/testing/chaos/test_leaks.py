"""What an engine that leaks leaves, and that the worker goes on and ends it all with the engine's process."""

import subprocess
import threading

import psutil
import pytest

from studio_worker.testing import chaos
from studio_worker.testing.chaos.fault import Fault

MIB = 1024 * 1024


@pytest.fixture
def leaking():
    """Leaking engines that let go at the test's end."""
    faults: list[Fault] = []

    def make(what, amount=1, **when):
        faults.append(chaos.leak(what=what, amount=amount, **when))
        return faults[-1]

    yield make
    for fault in faults:
        fault.release()


def leaked_threads():
    return [thread for thread in threading.enumerate() if thread.name == "chaos-leak"]


def child_pids():
    return {child.pid for child in psutil.Process().children(recursive=True)}


async def test_threads_are_left_running_job_by_job(worker_with, order, leaking):
    async with worker_with(leaking("threads", 2)) as worker:
        await order(worker)
        await order(worker)
    assert len(leaked_threads()) == 4


async def test_files_are_left_open(worker_with, order, leaking):
    before = psutil.Process().num_fds()
    async with worker_with(leaking("files", 3, on_job=1)) as worker:
        await order(worker)
        await order(worker)
    assert psutil.Process().num_fds() >= before + 3


async def test_memory_is_kept(worker_with, order, leaking):
    fault = leaking("memory", 64)
    before = psutil.Process().memory_info().rss
    async with worker_with(fault) as worker:
        await order(worker)
    assert psutil.Process().memory_info().rss >= before + 48 * MIB


async def test_a_child_is_left_running(worker_with, order, leaking):
    before = child_pids()
    async with worker_with(leaking("children", on_job=1)) as worker:
        await order(worker)
    assert len(child_pids() - before) == 1


@pytest.mark.parametrize("what", ["threads", "files", "children"])
async def test_release_takes_back_what_was_left(worker_with, order, leaking, what):
    fault = leaking(what, 2)
    before = child_pids()
    async with worker_with(fault) as worker:
        await order(worker)
    held = tuple(fault._held)
    assert len(held) == 2
    fault.release()
    assert not leaked_threads()
    assert child_pids() == before
    assert all(each.closed for each in held if what == "files")


async def test_what_an_engine_leaves_in_its_process_ends_with_the_worker(worker_with, order, in_folder):
    before = child_pids()
    async with worker_with(chaos.in_process(in_folder, "leak", what="children", amount=2)) as worker:
        await order(worker)
        assert len(child_pids() - before) == 3, "the engine's process and its two children"
    assert child_pids() == before


def test_a_child_ends_by_itself_where_a_test_forgets_it(leaking):
    fault = leaking("children")
    fault.after(None, None)
    (child,) = fault._held
    assert isinstance(child, subprocess.Popen)
    assert "time.sleep(600)" in child.args[-1]
    assert child.poll() is None
