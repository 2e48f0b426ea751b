from __future__ import annotations

import asyncio
import threading

import pytest

from studio_worker.fetch.off_loop import off_loop


class Held:
    """Work in a thread that ends when it may, by an error where it is given one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = threading.Event()
        self.has_ended = False
        self._error = error
        self._started = threading.Event()

    async def begin(self) -> asyncio.Task[None]:
        """Who waits for it, once it is under way."""
        task = asyncio.create_task(off_loop(self._work))
        await asyncio.to_thread(self._started.wait, 10)
        return task

    def _work(self) -> None:
        self._started.set()
        self.go.wait(10)
        self.has_ended = True
        if self._error is not None:
            raise self._error


async def test_a_cancelled_caller_waits_for_its_thread() -> None:
    held = Held()
    task = await held.begin()
    task.cancel()
    asyncio.get_running_loop().call_soon(held.go.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held.has_ended


async def test_what_the_thread_raises_reaches_the_caller() -> None:
    def work() -> None:
        raise OSError("the disk refuses")

    with pytest.raises(OSError, match="the disk refuses"):
        await off_loop(work)


async def test_a_second_cancellation_leaves_the_thread_behind_as_little_as_the_first() -> None:
    held = Held()
    task = await held.begin()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held.has_ended


async def test_what_the_thread_raises_after_a_cancellation_is_told_as_its_cause() -> None:
    held = Held(OSError("the disk refuses"))
    task = await held.begin()
    task.cancel()
    asyncio.get_running_loop().call_soon(held.go.set)
    with pytest.raises(asyncio.CancelledError) as error:
        await task
    assert str(error.value.__cause__) == "the disk refuses"
