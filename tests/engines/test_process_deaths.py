"""What becomes of a job when the process that runs it dies, hangs or talks nonsense."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

import studio_worker
from studio_worker.errors import EngineError, OutOfMemory

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""

SLACK_SECS = 4.0
"""What a machine that runs many tests at once may add to a second."""

DEATHS = {
    "crashes": ("ctypes.string_at(0)", "it was killed by SIGSEGV"),
    "aborts": ("os.abort()", "it was killed by SIGABRT"),
    "leaves with a status": ("os._exit(3)", "it ended the process with exit status 3"),
    "leaves as if all were well": ("os._exit(0)", "it ended the process with exit status 0"),
    "is shot": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        "it was killed by SIGKILL",
    ),
    "closes its pipe and works on": (
        "[os.close(fd) for fd in pipes()]; time.sleep(600)",
        "it closed the pipe to the worker",
    ),
    "writes garbage to the pipe": (
        "[os.write(fd, b'\\0\\0\\0\\5hello') for fd in pipes()]; time.sleep(600)",
        "it broke the pipe to the worker: the pipe carries a message that is no JSON",
    ),
    "announces 2 GiB": (
        "[os.write(fd, b'\\x7f\\xff\\xff\\xff' + bytes(9_000)) for fd in pipes()]; time.sleep(600)",
        "it broke the pipe to the worker: the pipe carries something that is no message",
    ),
    "writes half a message and leaves": (
        "[os.write(fd, b'\\0\\0\\0\\5he') for fd in pipes()]; os._exit(5)",
        "it ended the process with exit status 5",
    ),
    "writes half a message and closes": (
        "[(os.write(fd, b'\\0\\0\\0\\5he'), os.close(fd)) for fd in pipes()]; time.sleep(600)",
        "it broke the pipe to the worker: the pipe ended inside a message",
    ),
    "sends a message of its own": (
        '[os.write(fd, frame(b\'{"type": "dance"}\')) for fd in pipes()]; time.sleep(600)',
        "it broke the pipe to the worker: the pipe carries a message of an unknown type",
    ),
    "sends a message of wrong types": (
        '[os.write(fd, frame(b\'{"type": "done", "run": true}\')) for fd in pipes()]; time.sleep(600)',
        "it broke the pipe to the worker: the pipe carries a message 'Done' whose 'run' is not what it should be",
    ),
    "describes itself unasked": (
        "describe_unasked()",
        "it broke the pipe to the worker: it answers what nobody asked",
    ),
}

MODULE = """
import stat

def pipes():
    '''The way up: the one writable pipe that is not 1 or 2.'''
    found = []
    for fd in range(3, 64):
        try:
            mode = os.fstat(fd).st_mode
            import fcntl
            writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
        except OSError:
            continue
        if stat.S_ISFIFO(mode) and writable:
            found.append(fd)
    assert len(found) == 1, found
    return found

def describe_unasked():
    os.write(pipes()[0], frame(b'{"type": "described", "engines": [], "hooks": []}'))
    time.sleep(600)

def frame(body):
    return len(body).to_bytes(4, "big") + body
"""

KILLABLE = """
def run(self, job):
    said = words(job)
    if said != "hello":
        exec(said)
    return say(pid=os.getpid())
"""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# deaths


@pytest.mark.parametrize("how", DEATHS)
async def test_one_job_fails_and_the_next_gets_a_new_process_when_an_engine(how, workshop):
    action, why = DEATHS[how]
    host = workshop.host(KILLABLE, module=MODULE)
    pid = await workshop.pid(host)
    with pytest.raises(EngineError) as caught:
        await workshop.run(host, action)
    assert str(caught.value) == f"the process of engine 'toy' is gone: {why}"
    assert caught.value.retryable
    assert workshop.deaths == [(host.descriptions[0].key, "toy", why)]
    assert await workshop.pid(host) != pid
    assert not is_alive(pid)


async def test_the_last_lines_of_a_process_that_dies_are_told(workshop):
    action = "print('one\\ntwo\\n\\nGGML_ASSERT: \\x1b[31mno kernel\\nlast', end=''); sys.stdout.flush(); os.abort()"
    host = workshop.host(KILLABLE)
    with pytest.raises(EngineError) as caught:
        await workshop.run(host, action)
    assert str(caught.value).endswith(
        "it was killed by SIGABRT; it printed: two | GGML_ASSERT: \\x1b[31mno kernel | last"
    )


async def test_what_was_printed_for_an_earlier_job_is_not_told_of_this_one(workshop, log_lines, until):
    host = workshop.host(KILLABLE)
    await workshop.run(host, "print('the words of somebody else', flush=True)")
    await until(lambda: any(line.get("event") == "engine.output" for line in log_lines))
    with pytest.raises(EngineError) as caught:
        await workshop.run(host, "print('mine', flush=True); os.abort()")
    assert str(caught.value).endswith("it was killed by SIGABRT; it printed: mine")


async def test_a_process_that_is_killed_from_outside_fails_its_job_at_once(workshop, tmp_path, until):
    started = tmp_path / "started"
    host = workshop.host(KILLABLE)
    pid = await workshop.pid(host)
    running = asyncio.create_task(workshop.run(host, f"Path({str(started)!r}).touch(); time.sleep(600)"))
    await until(started.exists)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="SIGKILL"):
        await within(running)
    assert time.monotonic() - killed < 2.0 + SLACK_SECS


async def test_a_process_that_dies_between_jobs_is_told_and_started_anew(workshop, until):
    host = workshop.host()
    pid = await workshop.pid(host)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: workshop.deaths)
    assert workshop.deaths[0][1] is None
    assert await workshop.pid(host) != pid


async def test_a_job_that_was_sent_to_a_process_that_had_just_died_runs_in_the_next(workshop):
    host = workshop.host()
    pid = await workshop.pid(host)
    # The loop has not been told of the death when the job is sent.
    os.kill(pid, signal.SIGKILL)
    assert await workshop.pid(host) != pid
    assert len(workshop.deaths) == 1


async def test_an_engine_whose_process_always_dies_fails_each_job_once(workshop, tmp_path):
    runs = tmp_path / "runs"
    host = workshop.host(f"def run(self, job): Path({str(runs)!r}).open('a').write('x'); os._exit(1)")
    for _ in range(2):
        with pytest.raises(EngineError):
            await workshop.run(host)
    assert runs.read_text() == "xx"
    assert len(workshop.deaths) == 2


async def test_a_plugin_that_ends_the_process_when_it_is_imported_fails_each_job(workshop):
    host = workshop.host(module="\nos._exit(7)\n")
    with pytest.raises(EngineError, match="exit status 7"):
        await workshop.run(host)
    assert len(workshop.deaths) == 1


async def test_the_death_of_a_process_fails_all_jobs_in_it_and_is_told_once(workshop, tmp_path, until):
    host = workshop.host(KILLABLE, concurrency=2)
    started = tmp_path / "started"
    one = asyncio.create_task(workshop.run(host, f"Path({str(started)!r}).touch(); time.sleep(600)"))
    await until(started.exists)
    two = asyncio.create_task(workshop.run(host, "os._exit(3)"))
    for task in (one, two):
        with pytest.raises(EngineError, match="exit status 3"):
            await within(task)
    assert len(workshop.deaths) == 1


async def test_a_listener_that_fails_keeps_no_job_from_its_end(workshop, log_lines):
    def fail(*death):
        raise ValueError("listener")

    host = workshop.host(KILLABLE, on_death=fail)
    with pytest.raises(EngineError, match="exit status 3"):
        await workshop.run(host, "os._exit(3)")
    assert any(line["message"] == "A listener of deaths failed" for line in log_lines)


async def test_an_engine_that_leaks_up_to_its_limit_is_out_of_memory_and_lives_on(workshop):
    host = workshop.host(KILLABLE)
    pid = await workshop.pid(host)
    leak = (
        "import resource; used = int(Path('/proc/self/statm').read_text().split()[0]) * 4096; "
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, resource.RLIM_INFINITY)); held = []\n"
        "while True: held.append(bytearray(2**22))"
    )
    with pytest.raises(OutOfMemory, match="engine 'toy' ran out of memory: MemoryError") as caught:
        await workshop.run(host, leak)
    assert caught.value.retryable
    assert await workshop.pid(host) == pid


# what is left of a process


async def test_what_an_engine_started_ends_with_its_process_also_where_it_holds_stdout(workshop, until, tmp_path):
    seen = tmp_path / "pid"
    action = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"Path({str(seen)!r}).write_text(str(child.pid)); os._exit(9)"
    )
    host = workshop.host(KILLABLE)
    begun = time.monotonic()
    with pytest.raises(EngineError, match="exit status 9"):
        await workshop.run(host, action)
    assert time.monotonic() - begun < 2.0 + SLACK_SECS
    await until(lambda: not is_alive(int(seen.read_text())))


async def test_a_grandchild_that_left_the_group_and_holds_stdout_keeps_no_job_waiting(workshop, tmp_path):
    seen = tmp_path / "pid"
    action = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
        f"Path({str(seen)!r}).write_text(str(child.pid)); os._exit(9)"
    )
    host = workshop.host(KILLABLE)
    begun = time.monotonic()
    with pytest.raises(EngineError, match="exit status 9"):
        await workshop.run(host, action)
    assert time.monotonic() - begun < 2.0 + SLACK_SECS
    os.kill(int(seen.read_text()), signal.SIGKILL)


WORKER = """
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = [{home!r}, {plugins!r}]
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.host import EngineCall, Host
from studio_worker.engines.router import Route
from studio_worker.models.files import ModelFiles
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import parse_task

engine = EngineDescription(
    name="toy", plugin="toy", entry_point="plugin_toy", sources=("toy",), models={{TaskKind.LLM: ("toy:*",)}}
)
task = parse_task({{"kind": "llm", "messages": [{{"role": "user", "content": "hello"}}]}})

async def main():
    host = Host([engine])
    route = Route(engine, TaskKind.LLM, "toy", None, "model")
    work_dir = Path({work_dir!r})
    await host.run(EngineCall(job_id="j", route=route, task=task, model=ModelFiles("toy"), inputs={{}}, seed=1,
                              work_dir=work_dir, on_progress=lambda *report: None))

asyncio.run(main())
"""

STUBBORN = {
    "sleeps": "time.sleep(600)",
    "holds Python's lock": "ctypes.PyDLL(None).sleep(600)",
    "is deaf to signals": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); time.sleep(600)",
    "spins": "exec('while True: pass')",
    "is stopped": "os.kill(os.getpid(), signal.SIGSTOP); time.sleep(600)",
}


@pytest.mark.parametrize("how", STUBBORN)
async def test_children_and_grandchildren_end_within_a_second_of_a_killed_worker_also_where_the_engine(
    how, workshop, tmp_path, until
):
    pids = tmp_path / "pids"
    body = f"""
        def run(self, job):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path({str(pids) + ".new"!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
            os.rename({str(pids) + ".new"!r}, {str(pids)!r})
            {STUBBORN[how]}
    """
    workshop.engine(body)
    code = WORKER.format(
        home=str(Path(studio_worker.__file__).parents[1]), plugins=str(workshop.shop.folder), work_dir=str(tmp_path)
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    try:
        await until(pids.exists)
        found = [int(pid) for pid in pids.read_text().split()]
        assert all(map(is_alive, found))
    finally:
        worker.kill()
        await worker.wait()
    killed = time.monotonic()
    await until(lambda: not any(map(is_alive, found)))
    assert time.monotonic() - killed < 1.0 + SLACK_SECS
