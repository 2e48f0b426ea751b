"""Local jobs that wait."""

from types import SimpleNamespace

import pytest

from studio_worker.errors import JobCancelled
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.local_queue import MAX_LOOK, LocalQueue


@pytest.fixture
async def queue(clock):
    return LocalQueue(clock)


def plan(job_id, model="m", *, files=(), engine="toy"):
    route = SimpleNamespace(engine=SimpleNamespace(key=(engine, engine, 0)))
    source = SimpleNamespace(files=files)
    return SimpleNamespace(job_id=job_id, model=model, source=source, route=route)


def line_up(queue, models, **about):
    for number, model in enumerate(models):
        queue.join(plan(f"{model}{number}", model, **{"files": ("weights",), **about}), LocalLink())


def served(queue):
    return [queue.next()[0].job_id for _ in range(len(queue))]


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


async def test_jobs_of_several_models_by_turns_load_each_model_once(queue):
    line_up(queue, "ABAACABC")
    assert served(queue) == ["A0", "A2", "A3", "A5", "B1", "B6", "C4", "C7"]


async def test_one_who_has_waited_for_a_minute_is_overtaken_no_more(queue, clock):
    line_up(queue, "ABAAA")
    assert queue.next()[0].job_id == "A0"
    clock.advance(59)
    assert queue.next()[0].job_id == "A2"
    clock.advance(1)
    assert served(queue) == ["B1", "A3", "A4"]


async def test_a_stream_of_one_model_starves_nobody(queue, clock):
    line_up(queue, "AB")
    waited = 0
    while queue.next()[0].model == "A":
        line_up(queue, "A")
        clock.advance(10)
        waited += 10
    assert waited == 60


async def test_where_there_is_nothing_to_load_all_go_in_their_turn(queue):
    line_up(queue, "ABA", files=())
    assert served(queue) == ["A0", "B1", "A2"]


async def test_a_model_of_another_engine_is_another_model(queue):
    line_up(queue, "A", engine="one")
    line_up(queue, "B", engine="two")
    line_up(queue, "A", engine="two")
    assert [queue.next()[0].route.engine.key[0] for _ in range(3)] == ["one", "two", "two"]


async def test_the_look_along_a_long_line_has_an_end(queue):
    line_up(queue, "A" + "B" * MAX_LOOK + "A")
    queue.next()
    assert queue.next()[0].model == "B"
