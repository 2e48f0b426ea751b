"""Fault F-54: a worker that is killed at each write, sync and rename on the way of one result, one after the other."""

from __future__ import annotations

import asyncio
import re
import signal
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from studio_worker.testing.scripted_studio import ScriptedStudio

from .conftest import encoded, picture, words
from .machine import Machine, done

pytestmark = pytest.mark.needs("attaching")

CALLS = ("pwrite64", "write", "fdatasync", "fsync", "rename")
"""What SQLite and the spool change a disk with. The counts of strace are by thread, and so are these."""

MAX_CALLS = 40


async def trace(pid: int, log: Path, *options: str) -> Process:
    """Strace at all threads of a process."""
    strace = await asyncio.create_subprocess_exec(
        "strace", "-f", "-qq", "-o", log, "-e", f"trace={','.join(CALLS)}", *options, "-p", str(pid),
        stdin=DEVNULL, stdout=DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(20):
        while not is_traced(pid):
            assert strace.returncode is None, "strace could not attach"
            await asyncio.sleep(0.01)
    return strace


def is_traced(pid: int) -> bool:
    """Whether every thread of a process has a tracer."""
    try:
        statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    except (FileNotFoundError, ProcessLookupError):
        # A thread that ended while they were listed.
        return False
    return all(re.search(r"^TracerPid:\t[1-9]", status, re.MULTILINE) for status in statuses)


async def let_go(strace: Process) -> None:
    """Have strace end: by itself where its process is dead, which a signal at the wrong moment would keep from us."""
    try:
        async with asyncio.timeout(0.2):
            await strace.wait()
    except TimeoutError:
        strace.send_signal(signal.SIGINT)
        await strace.wait()


async def counted(machine: Machine, studio: ScriptedStudio, claim: dict[str, Any], log: Path) -> dict[str, int]:
    """How often a job calls each, in the thread that does so most often."""
    strace = await trace(machine.pid, log)
    await studio.offer(claim)
    await done(studio, claim["jobId"])
    await machine.until(claim["jobId"], "delivered")
    await let_go(strace)
    seen = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    return {call: max((n for (_, name), n in seen.items() if name == call), default=0) for call in CALLS}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("make", "is_practised", "swept"),
    [
        pytest.param(words, False, ["pwrite64", "write"], id="json"),
        pytest.param(picture, False, ["write", "fdatasync", "fsync", "rename"], id="a new file"),
        pytest.param(picture, True, ["pwrite64", "write", "fdatasync"], id="a file that is written over"),
    ],
)
async def test_killed_at_each_system_call_a_job_has_one_result_and_runs_again_only_if_nothing_was_kept(
    machine: Machine,
    studio: ScriptedStudio,
    tmp_path: Path,
    make: Callable[..., dict[str, Any]],
    is_practised: bool,
    swept: list[str],
) -> None:
    async def prepare(name: str) -> None:
        """A life that has the file of a settled result to write over, or one that has none."""
        if is_practised:
            await studio.offer(make(name))
            await done(studio, name)
            await machine.until(name, "delivered")
        elif machine.runs:
            await machine.kill()
            await machine.start()

    await prepare("before")
    calls = await counted(machine, studio, make("counted"), tmp_path / "calls")
    struck: Counter[str] = Counter()
    held = 0
    points = [(call, number) for call in swept for number in range(1, min(calls[call], MAX_CALLS) + 1)]
    for call, number in points:
        job_id = f"{call}-{number}"
        await prepare(f"before-{job_id}")
        strace = await trace(machine.pid, tmp_path / "log", "-e", f"inject={call}:signal=SIGKILL:when={number}")
        # A call of the worker's own (a look at the disk, a heartbeat) may be the one, before there is an offer.
        with suppress(ConnectionError):
            await studio.offer(make(job_id))
        ends = [asyncio.create_task(machine.ended()), asyncio.create_task(machine.until(job_id, "delivered"))]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await let_go(strace)
        struck[call] += machine.is_dead
        was_kept = machine.keeps(job_id)
        held += was_kept and machine.stages()[job_id] != "delivered"
        await machine.kill()
        await machine.start()
        if job_id not in studio.done:
            await studio.offer(make(job_id))
        await done(studio, job_id)
        if make is picture:
            # A JSON result whose acknowledgement was lost waits for an offer that no studio makes now.
            await machine.until(job_id, "delivered")
        assert machine.runs[job_id] <= (1 if was_kept else 2), f"{job_id}: the engine ran once more"
    print(f"calls {calls}, killed at {dict(struck)}, {held} with a kept result")
    assert studio.of_type("fail") == []
    assert studio.violations == []
    taken = [upload for upload in studio.uploads if upload.status == 200]
    assert [upload.job_id for upload in taken if upload.data != encoded("png", 64, 64, upload.job_id)] == []
    assert [call for call in swept if not struck[call]] == []
    assert held or not is_practised, "no kill came between the keeping of a result and the end of its delivery"
    assert not [path.name for path in machine.state.iterdir() if "damaged" in path.name]
