"""Turns on a GPU: one job after the other, the jobs of one model together where their engine takes several."""

import asyncio

import pytest

from studio_worker.engines.device_turns import DeviceTurns


class Jobs:
    """Jobs that hold their turn until a test ends them; `running` names those that have it."""

    def __init__(self) -> None:
        self.turns = DeviceTurns()
        self.running: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def come(self, name: str, *, key: str = "", device: str = "cuda:0", at_once: int = 1) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, device, key or name, at_once))
        await self.settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await self.settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait([self._tasks[name]])
        await self.settle()

    def cancel_unseen(self, name: str) -> None:
        self._tasks[name].cancel()

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def _run(self, name: str, device: str, key: str, at_once: int) -> None:
        async with self.turns.hold(device, key, at_once):
            self.running.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.running.remove(name)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@pytest.fixture
async def jobs():
    found = Jobs()
    yield found
    await found.close()


async def test_one_job_after_the_other_in_the_order_in_which_they_came(jobs):
    for name in "abc":
        await jobs.come(name)
    order = []
    while jobs.running:
        order.append(*jobs.running)
        await jobs.end(jobs.running[0])
    assert order == ["a", "b", "c"]


async def test_another_device_has_turns_of_its_own(jobs):
    await jobs.come("a")
    await jobs.come("b", device="cuda:1")
    assert jobs.running == ["a", "b"]


async def test_jobs_of_one_model_share_a_turn_as_far_as_their_engine_goes(jobs):
    for name in "abc":
        await jobs.come(name, key="m", at_once=2)
    assert jobs.running == ["a", "b"]
    await jobs.end("a")
    assert jobs.running == ["b", "c"]


async def test_nobody_joins_a_turn_past_one_who_waits(jobs):
    await jobs.come("a", key="m", at_once=3)
    await jobs.come("other")
    await jobs.come("b", key="m", at_once=3)
    assert jobs.running == ["a"]
    await jobs.end("a")
    assert jobs.running == ["other"]


async def test_one_who_is_cancelled_while_waiting_is_passed_over(jobs):
    for name in "abc":
        await jobs.come(name)
    await jobs.cancel("b")
    await jobs.end("a")
    assert jobs.running == ["c"]


async def test_one_who_is_cancelled_at_work_gives_its_turn_on(jobs):
    for name in "ab":
        await jobs.come(name)
    await jobs.cancel("a")
    assert jobs.running == ["b"]


async def test_one_who_is_cancelled_in_the_moment_of_its_turn_gives_it_on(jobs):
    for name in "abc":
        await jobs.come(name)
    jobs._ends["a"].set()
    await asyncio.sleep(0)
    jobs.cancel_unseen("b")
    await jobs.settle()
    await jobs.settle()
    assert jobs.running == ["c"]


async def test_two_who_are_cancelled_before_either_wakes_hold_nobody_up(jobs):
    for name in "abcd":
        await jobs.come(name)
    for name in "abc":
        jobs.cancel_unseen(name)
    await jobs.settle()
    assert jobs.running == ["d"]
    await jobs.end("d")
    await jobs.come("e")
    assert jobs.running == ["e"]
