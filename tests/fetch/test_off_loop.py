from __future__ import annotations

import asyncio
import threading

import pytest

from studio_worker.fetch.off_loop import off_loop


async def test_a_cancelled_caller_waits_for_its_thread() -> None:
    started, go = threading.Event(), threading.Event()
    ended: list[str] = []

    def work() -> None:
        started.set()
        go.wait(10)
        ended.append("thread")

    task = asyncio.create_task(off_loop(work))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["thread"]


async def test_what_the_thread_raises_reaches_the_caller() -> None:
    def work() -> None:
        raise OSError("the disk refuses")

    with pytest.raises(OSError, match="the disk refuses"):
        await off_loop(work)


async def test_a_second_cancellation_leaves_the_thread_behind_as_little_as_the_first() -> None:
    started, go = threading.Event(), threading.Event()
    ended: list[str] = []

    def work() -> None:
        started.set()
        go.wait(10)
        ended.append("thread")

    task = asyncio.create_task(off_loop(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["thread"]


async def test_what_the_thread_raises_after_a_cancellation_is_told_as_its_cause() -> None:
    started, go = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go.wait(10)
        raise OSError("the disk refuses")

    task = asyncio.create_task(off_loop(work))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError) as error:
        await task
    assert str(error.value.__cause__) == "the disk refuses"
