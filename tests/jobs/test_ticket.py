"""A job in hand."""

import asyncio
from types import SimpleNamespace

import pytest

from studio_worker.errors import JobCancelled
from studio_worker.events import JobProgress
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.seats import Seats
from studio_worker.jobs.ticket import Ticket
from studio_worker.wire.kinds import TaskKind


@pytest.fixture
async def ticket(entry):
    plan = SimpleNamespace(
        job_id="job-1",
        kind=TaskKind.LLM,
        model="m",
        route=SimpleNamespace(engine=SimpleNamespace(name="gate")),
        origin="local",
    )
    seat = Seats(lambda: 1).take("local", has_capacity=True)
    return Ticket(plan=plan, entry=entry(), link=LocalLink(), seat=seat)


async def endless():
    await asyncio.get_running_loop().create_future()


async def test_cancelling_before_the_work_has_begun_leaves_the_reason(ticket):
    assert ticket.cancel(JobCancelled("early"))
    assert ticket.cancellation.reason == "early"


async def test_cancelling_ends_the_work(ticket):
    ticket.work = asyncio.create_task(endless())
    assert ticket.cancel(JobCancelled("enough"))
    with pytest.raises(asyncio.CancelledError):
        await ticket.work


async def test_the_first_reason_stands(ticket):
    ticket.cancel(JobCancelled("first"))
    assert ticket.cancel(JobCancelled("second"))
    assert ticket.cancellation.reason == "first"


async def test_work_that_is_done_cannot_be_cancelled(ticket):
    ticket.work = asyncio.create_task(asyncio.sleep(0))
    await ticket.work
    assert not ticket.cancel(JobCancelled("late"))
    assert ticket.cancellation is None


async def test_a_job_whose_end_was_told_cannot_be_cancelled(ticket):
    ticket.is_ended = True
    assert not ticket.cancel(JobCancelled("late"))


async def test_a_snapshot_tells_how_far_the_job_is(ticket):
    ticket.latest = JobProgress("job-1", 3, 4)
    shown = ticket.snapshot(1_002.5)
    assert (shown.job_id, shown.kind, shown.model, shown.engine, shown.origin, shown.seconds) == (
        "job-1",
        TaskKind.LLM,
        "m",
        "gate",
        "local",
        2.5,
    )
    assert shown.progress.step == 3
