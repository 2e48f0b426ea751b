from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.clock import SystemClock
from studio_worker.fetch.filling import BATCH_BYTES, MAX_WAITING
from studio_worker.fetch.resumable_file import lock_path
from studio_worker.fetch.wanted import WantedFile

from .file_server import DATA, Asked, FileServer, say, up_to

BIG = DATA * 16
IN_MEMORY = MAX_WAITING + 2 * BATCH_BYTES + 600_000
"""What a process may hold that is not in its file yet; a kill costs it."""
CHILD = Path(__file__).with_name("download_child.py")


class Child:
    """A process that downloads."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def news(self, key: str, least: int = 0) -> int | None:
        """The first news with `key` that says `least` or more."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while line := await self.process.stdout.readline():
                said = json.loads(line)
                if key in said and (said[key] is None or said[key] >= least):
                    return said[key]
        raise AssertionError(f"the child ended without a word of {key}")

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@pytest.fixture
async def child(server: FileServer, pull: Any) -> AsyncIterator[Callable[[], Awaitable[Child]]]:
    """Starts processes that download the server's file to the place of `pull`."""
    made: list[Child] = []

    async def start() -> Child:
        arguments = [sys.executable, str(CHILD), server.url, str(pull.dest), server.origin]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, env=environment)
        made.append(Child(process))
        return made[-1]

    yield start
    for each in made:
        if each.process.returncode is None:
            await each.kill()


class Gate:
    """Holds an answer at one byte of the file until `opened` is set, or ends it there when `cut` is."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.reached = asyncio.Event()
        self.opened, self.cut = asyncio.Event(), asyncio.Event()

    async def __call__(self, server: FileServer, asked: Asked, writer: asyncio.StreamWriter) -> None:
        await up_to(self.at)(server, asked, writer)
        self.reached.set()
        ways = [asyncio.create_task(self.opened.wait()), asyncio.create_task(self.cut.wait())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        if self.opened.is_set():
            await server.body(writer, server.data[self.at :])


async def test_many_jobs_that_want_one_file_make_one_transfer_and_all_hear_of_it(server: FileServer, pull: Any) -> None:
    gate = Gate(500_000)
    server.script = [gate]
    downloader = pull.downloader()
    told: list[list[int]] = [[] for _ in range(50)]
    wanted = WantedFile(url=server.url, dest=pull.dest, what="model file")
    tasks = [
        asyncio.create_task(downloader.download(wanted, lambda done, total, number=number: told[number].append(done)))
        for number in range(50)
    ]
    await gate.reached.wait()
    gate.opened.set()
    found = await asyncio.gather(*tasks)
    assert len(server.asked) == 1
    assert [got.size for got in found if got] == [len(DATA)]
    assert all(each[-1] == len(DATA) and each == sorted(each) for each in told)


async def test_when_the_job_that_downloads_is_cancelled_another_one_goes_on(server: FileServer, pull: Any) -> None:
    gate = Gate(900_000)
    server.script = [gate]
    downloader, wanted = pull.downloader(), WantedFile(url=server.url, dest=pull.dest, what="model file")
    first = asyncio.create_task(downloader.download(wanted, pull.hear))
    await gate.reached.wait()
    second = asyncio.create_task(downloader.download(wanted))
    await pull.heard(500_000)
    first.cancel()
    got = await second
    assert got.size == len(DATA)
    assert server.asked[1].start >= 500_000
    assert pull.dest.read_bytes() == DATA


async def test_a_job_that_waits_and_is_cancelled_leaves_the_transfer_alone(server: FileServer, pull: Any) -> None:
    gate = Gate(500_000)
    server.script = [gate]
    downloader, wanted = pull.downloader(), WantedFile(url=server.url, dest=pull.dest, what="model file")
    first = asyncio.create_task(downloader.download(wanted))
    await gate.reached.wait()
    second = asyncio.create_task(downloader.download(wanted))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.opened.set()
    assert (await first).size == len(DATA)


async def test_a_failure_of_one_job_is_tried_by_the_next(server: FileServer, pull: Any) -> None:
    server.script = [say(404, b"")]
    downloader, wanted = pull.downloader(), WantedFile(url=server.url, dest=pull.dest, what="model file")
    found = await asyncio.gather(*(downloader.download(wanted) for _ in range(2)), return_exceptions=True)
    assert "404" in str(found[0])
    assert found[1].size == len(DATA)


async def test_two_processes_that_want_one_file_make_one_transfer(server: FileServer, pull: Any, child: Any) -> None:
    gate = Gate(500_000)
    server.script = [gate]
    first = await child()
    await gate.reached.wait()
    await first.news("done", 400_000)
    pull.options = {"clock": SystemClock()}
    waits = asyncio.create_task(pull())
    await pull.heard()
    gate.opened.set()
    assert await first.news("size") == len(DATA)
    assert await waits is None
    assert len(server.asked) == 1
    assert pull.dest.read_bytes() == DATA


async def test_who_waits_for_another_process_is_told_how_far_it_is(server: FileServer, pull: Any, child: Any) -> None:
    server.data = BIG
    gate = Gate(12_000_000)
    server.script = [gate]
    first = await child()
    await gate.reached.wait()
    await first.news("done", 11_900_000)
    pull.options = {"clock": SystemClock()}
    waits = asyncio.create_task(pull())
    await pull.heard()
    done, total = pull.told[0]
    assert gate.at - IN_MEMORY <= done < len(BIG)
    assert total == len(BIG)
    gate.opened.set()
    await waits


async def test_the_lock_of_a_killed_process_ends_with_it_and_the_other_goes_on_where_it_was(
    server: FileServer, pull: Any, child: Any
) -> None:
    server.data = BIG
    gate = Gate(12_000_000)
    server.script = [gate]
    first = await child()
    await gate.reached.wait()
    await first.news("done", 11_900_000)
    pull.options = {"clock": SystemClock()}
    waits = asyncio.create_task(pull())
    await pull.heard()
    await first.kill()
    assert (await waits).size == len(BIG)
    assert server.asked[1].start >= gate.at - IN_MEMORY
    assert pull.dest.read_bytes() == BIG


@pytest.mark.parametrize("percent", [30, 60, 90])
async def test_a_process_killed_at_any_point_costs_only_what_was_on_its_way(
    server: FileServer, pull: Any, child: Any, percent: int
) -> None:
    server.data = BIG
    gate = Gate(len(BIG) * percent // 100)
    server.script = [gate]
    first = await child()
    await gate.reached.wait()
    await first.news("done", gate.at - 100_000)
    await first.kill()
    have = pull.part.stat().st_size
    await pull()
    assert server.asked[1].start == have >= gate.at - IN_MEMORY
    assert sum(server.sent) <= len(BIG) + IN_MEMORY
    assert pull.dest.read_bytes() == BIG


async def test_a_lock_file_that_a_dead_process_left_behind_blocks_nobody(server: FileServer, pull: Any) -> None:
    lock = lock_path(pull.dest)
    lock.parent.mkdir()
    lock.write_text("999999")
    await pull()
    assert pull.clock.pauses == []


async def test_a_folder_that_cannot_be_written_is_named_at_once(server: FileServer, pull: Any) -> None:
    (pull.dest.parent / ".downloads").write_text("in the way")
    error = await pull.failed()
    assert str(pull.dest.parent) in str(error)
    assert server.asked == []


async def test_a_process_that_was_suspended_asks_only_for_what_is_missing(
    server: FileServer, pull: Any, child: Any
) -> None:
    """F-51: the server gave it up meanwhile, as any server does with a client that has slept for hours."""
    gate = Gate(500_000)
    server.script = [gate]
    sleeper = await child()
    await gate.reached.wait()
    await sleeper.news("done", 400_000)
    sleeper.process.send_signal(signal.SIGSTOP)
    gate.cut.set()
    await asyncio.sleep(0.5)
    sleeper.process.send_signal(signal.SIGCONT)
    assert await sleeper.news("size") == len(DATA)
    assert server.asked[1].start >= 400_000
    assert pull.dest.read_bytes() == DATA
