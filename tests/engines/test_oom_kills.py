"""What the system says of processes that it has killed for their memory, and what a job hears of it."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from studio_worker.engines.oom_kills import oom_kills
from studio_worker.errors import EngineError, OutOfMemory

KILLED = """
def run(self, job):
    if words(job) == "hello":
        return say(pid=os.getpid())
    Path(words(job)).write_text("oom_kill 4")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def system(tmp_path):
    """The two places where the system counts: a control group's folder and ``/proc``."""
    groups, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (groups / "system.slice/worker.service").mkdir(parents=True)
    (proc / "self/cgroup").write_text("1:name=systemd:/old\n0::/system.slice/worker.service\n")
    (proc / "vmstat").write_text("pgfault 9\noom_kill 7\n")
    return groups, proc


def test_the_workers_own_group_is_asked_first(system):
    (system[0] / "system.slice/worker.service/memory.events").write_text("low 0\nhigh 0\noom 3\noom_kill 2\n")
    assert oom_kills(*system) == 2


@pytest.mark.parametrize("text", [None, "", "oom 3\n", "oom_kill many\n", "one two three\n"])
def test_where_the_group_says_nothing_the_machine_does(system, text):
    if text is not None:
        (system[0] / "system.slice/worker.service/memory.events").write_text(text)
    assert oom_kills(*system) == 7


def test_a_system_that_does_not_count_says_so(tmp_path):
    assert oom_kills(tmp_path, tmp_path) is None


def test_this_system_counts():
    assert (oom_kills() or 0) >= 0
    assert oom_kills() is not None or not Path("/proc/vmstat").exists()


# what a job hears


@pytest.fixture
def count(tmp_path, workshop):
    """A host whose system counts in the file ``count``."""
    path = tmp_path / "count"
    path.write_text("oom_kill 3")

    def read():
        text = path.read_text()
        return int(text.split()[1]) if text else None

    host = workshop.host(KILLED)
    host._processes = replace(host._processes, oom_kills=read)
    return host, path


async def test_a_process_that_the_system_killed_for_memory_is_out_of_memory(workshop, count):
    host, path = count
    with pytest.raises(OutOfMemory) as caught:
        await workshop.run(host, str(path))
    assert str(caught.value) == (
        "engine 'toy' ran out of memory: it was killed by SIGKILL, by the system, which had no memory left"
    )
    assert caught.value.retryable
    assert workshop.deaths[0][1:] == ("toy", "it was killed by SIGKILL, by the system, which had no memory left")
    assert await workshop.pid(host) > 0


async def test_a_process_that_somebody_else_killed_is_just_killed(workshop, count, tmp_path):
    host, _ = count
    with pytest.raises(EngineError) as caught:
        await workshop.run(host, str(tmp_path / "elsewhere"))
    assert type(caught.value) is EngineError
    assert str(caught.value) == "the process of engine 'toy' is gone: it was killed by SIGKILL"


async def test_where_nobody_counts_it_is_just_killed(workshop, count, tmp_path):
    host, path = count
    path.write_text("")
    with pytest.raises(EngineError) as caught:
        await workshop.run(host, str(path))
    assert type(caught.value) is EngineError


async def test_a_crash_beside_a_kill_for_memory_is_a_crash(workshop, count, until):
    host, path = count
    pid = await workshop.pid(host)
    path.write_text("oom_kill 9")
    os.kill(pid, signal.SIGABRT)
    await until(lambda: workshop.deaths)
    assert workshop.deaths[0][2] == "it was killed by SIGABRT"
