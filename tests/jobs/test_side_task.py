"""Work that nobody waits for: its end by somebody else's hand is heard of."""

from __future__ import annotations

import asyncio

import pytest

from studio_worker.errors import StudioWorkerError
from studio_worker.jobs.side_task import SideTask


@pytest.fixture
def losses():
    return []


@pytest.fixture
def side_task(losses):
    return SideTask("journal room", losses.append)


async def for_ever():
    await asyncio.get_running_loop().create_future()


async def settled():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_work_that_is_done_is_no_loss_and_may_begin_again(side_task, losses):
    for _ in range(2):
        side_task.start(asyncio.sleep(0))
        assert side_task.is_running
        await settled()
        assert not side_task.is_running
    assert losses == []


async def test_work_that_somebody_cancels_is_told_by_its_name(side_task, losses):
    side_task.start(for_ever())
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "journal room"]
    task.cancel()
    await settled()
    (error,) = losses
    assert isinstance(error, StudioWorkerError)
    assert str(error) == "the worker's task 'journal room' was cancelled: start the worker again"


async def test_work_that_fails_is_told_with_its_error(side_task, losses):
    async def broken():
        raise KeyError("a mistake of ours")

    side_task.start(broken())
    await settled()
    assert [type(error) for error in losses] == [KeyError]


async def test_the_end_that_its_owner_wants_is_no_loss(side_task, losses):
    side_task.start(for_ever())
    await side_task.aclose()
    assert not side_task.is_running
    assert losses == []


async def test_there_is_nothing_to_close_where_nothing_was_begun(side_task, losses):
    await side_task.aclose()
    assert not side_task.is_running
    assert losses == []
