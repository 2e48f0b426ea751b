"""Local jobs that wait."""

from types import SimpleNamespace

import pytest

from studio_worker.errors import JobCancelled
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.local_queue import LocalQueue


@pytest.fixture
def queue():
    return LocalQueue()


def plan(job_id):
    return SimpleNamespace(job_id=job_id)


async def test_the_first_to_come_is_the_first_to_go(queue):
    for job_id in ("a", "b"):
        queue.join(plan(job_id), LocalLink())
    assert len(queue) == 2
    assert [queue.next()[0].job_id for _ in range(2)] == ["a", "b"]
    assert not queue


async def test_it_knows_who_waits(queue):
    queue.join(plan("a"), LocalLink())
    assert "a" in queue
    assert "b" not in queue


async def test_one_can_be_ended_out_of_turn(queue):
    links = {job_id: LocalLink() for job_id in ("a", "b", "c")}
    for job_id, link in links.items():
        queue.join(plan(job_id), link)
    assert queue.end("b", JobCancelled("enough"))
    assert not queue.end("b", JobCancelled("again"))
    with pytest.raises(JobCancelled, match="enough"):
        await links["b"].result
    assert [queue.next()[0].job_id for _ in range(2)] == ["a", "c"]


async def test_all_can_be_ended_at_once(queue):
    links = [LocalLink(), LocalLink()]
    for number, link in enumerate(links):
        queue.join(plan(str(number)), link)
    queue.end_all(JobCancelled("the worker is stopping", retryable=True))
    assert not queue
    for link in links:
        with pytest.raises(JobCancelled, match="stopping"):
            await link.result
