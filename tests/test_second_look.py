"""A second look at the installed engines: one at a time, and none that fails ends anything."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest

from studio_worker.engines.description import EngineDescription
from studio_worker.second_look import SecondLook


class Bench:
    """A look whose looks end when the test says so."""

    def __init__(self) -> None:
        self.looks: list[asyncio.Future[tuple[EngineDescription, ...]]] = []
        self.taken: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.look = SecondLook(self._look, lambda found: self.taken.append(found[0].name))

    async def _look(self) -> tuple[EngineDescription, ...]:
        self.looks.append(asyncio.get_running_loop().create_future())
        return await self.looks[-1]

    def _spawn(self, work: Coroutine[object, object, None], *, name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def want(self) -> None:
        self.look.want()
        await self.begin()

    async def begin(self) -> None:
        self.look.begin(self._spawn)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def find(self, name: str) -> None:
        self.looks[-1].set_result((EngineDescription(name=name),))
        await self.settle()


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_nothing_is_looked_at_that_nobody_wants(bench):
    await bench.begin()
    assert bench.looks == []


async def test_what_is_wanted_before_it_can_begin_is_looked_at_once_it_can(bench):
    bench.look.want()
    assert bench.looks == []
    await bench.begin()
    await bench.find("fox")
    assert bench.taken == ["fox"]


async def test_what_is_wanted_during_a_look_follows_it_as_one_more(bench):
    for _ in range(3):
        await bench.want()
    assert len(bench.looks) == 1
    await bench.find("old")
    assert len(bench.looks) == 2
    await bench.find("new")
    assert (bench.taken, len(bench.looks)) == (["old", "new"], 2)
    assert [task.done() for task in bench.tasks] == [True]


async def test_a_look_after_the_end_of_another_is_begun_anew(bench):
    for name in ("first", "second"):
        await bench.want()
        await bench.find(name)
    assert bench.taken == ["first", "second"]


@pytest.mark.parametrize("error", [OSError(36, "File name too long"), ExceptionGroup("looks", [TypeError("words")])])
async def test_a_look_that_fails_is_logged_and_the_next_is_taken(error, bench, caplines):
    await bench.want()
    bench.looks[0].set_exception(error)
    await bench.settle()
    assert bench.taken == []
    (line,) = [line for line in caplines if line["event"] == "engine.describe"]
    assert line["reason"]
    await bench.want()
    await bench.find("fox")
    assert bench.taken == ["fox"]


async def test_a_cancelled_look_is_over_and_takes_nothing(bench):
    await bench.want()
    bench.tasks[0].cancel()
    await asyncio.wait(bench.tasks)
    assert (bench.tasks[0].cancelled(), bench.taken) == (True, [])
    await bench.want()
    await bench.find("fox")
    assert bench.taken == ["fox"]
