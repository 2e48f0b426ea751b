"""Another program's output, and the end of the program whatever becomes of who asked."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from studio_worker.engines.asked_program import printed_by

HANGS = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
async def started(monkeypatch):
    """The transports of the programs that are started."""
    transports: list[asyncio.SubprocessTransport] = []
    loop = asyncio.get_running_loop()
    real = loop.subprocess_exec

    async def noting(*arguments, **options):
        transport, protocol = await real(*arguments, **options)
        transports.append(transport)
        return transport, protocol

    monkeypatch.setattr(loop, "subprocess_exec", noting)
    return transports


async def ask(command, *, timeout_secs: float = 60.0, max_bytes: int = 100):
    return await printed_by(command, os.environ, timeout_secs=timeout_secs, max_bytes=max_bytes)


async def test_what_a_program_prints_comes_with_its_exit_status():
    assert await ask((sys.executable, "-c", "print('hello', end=''); raise SystemExit(3)")) == (b"hello", 3)


async def test_no_more_is_read_than_there_is_room_for():
    printed, status = await ask((sys.executable, "-c", "while True: print('x' * 1000)"), max_bytes=10)
    assert (printed, status) == (b"x" * 10, None)


async def test_a_program_that_is_not_done_in_time_is_ended():
    with pytest.raises(TimeoutError):
        await ask(HANGS, timeout_secs=0.01)


async def test_who_is_cancelled_again_while_the_program_ends_leaves_nothing_open(started):
    asking = asyncio.create_task(ask(HANGS))
    async with asyncio.timeout(20):
        while not started:
            await asyncio.sleep(0.001)
    for _ in range(2):
        asking.cancel()
        await asyncio.sleep(0)
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert started[0].is_closing()
