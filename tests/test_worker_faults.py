"""What goes wrong inside a worker, or all at once: it recovers, or it ends and says so."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from studio_worker import Worker
from studio_worker.errors import JobCancelled, StudioWorkerError
from studio_worker.session.timings import Timings
from studio_worker.testing.claims import image_claim, llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
def joined(settings, studio):
    return lambda **fields: settings(**({"api_base_url": studio.url} | fields))


def gated(job_id: str) -> dict:
    return llm_claim(job_id, claim_fields={"engine": "gate", "model": "gate-llm"})


def task_named(name: str) -> asyncio.Task[object]:
    (found,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return found


OF_THE_WORKER = ("jobs", "session", "loop lag", "disk watch", "speeds", "journal upkeep")
OF_A_SESSION = ("heartbeat", "log shipping", "orders", "reader", "sender", "watch")


def tasks_of_ours() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if "studio_worker" in _file_of(task)} - {"worker"}


def _file_of(task: asyncio.Task[object]) -> str:
    frames = task.get_stack(limit=1)
    return frames[0].f_code.co_filename if frames else ""


async def test_the_tasks_of_an_idle_worker_are_those_that_are_cancelled_below(joined, studio):
    async with Worker(joined()):
        await studio.welcomed()
        await studio.frame("heartbeat")
        assert tasks_of_ours() == {*OF_THE_WORKER, *(f"session {part}" for part in OF_A_SESSION)}


@pytest.mark.parametrize("name", OF_THE_WORKER)
async def test_a_worker_that_loses_one_of_its_rooms_ends_and_says_which(joined, studio, soon, name):
    async with Worker(joined()) as worker:
        await studio.welcomed()
        task_named(name).cancel()
        with pytest.raises(StudioWorkerError, match=name):
            await soon(worker.run())
        verdict = worker.readiness()
        assert (verdict.code, name in verdict.detail) == ("stopped", True)
        assert worker.status()["readiness"] == {"ready": False, "code": "stopped", "detail": verdict.detail}
    await studio.gone()
    assert tasks_of_ours() == set()


@pytest.mark.parametrize("name", OF_THE_WORKER)
async def test_a_worker_that_lost_one_of_its_rooms_is_not_ready_before_it_has_ended(joined, studio, name):
    seen = []
    async with Worker(joined()) as worker:
        await studio.welcomed()
        ended = asyncio.create_task(worker.run())
        task_named(name).cancel()
        while not ended.done():
            await asyncio.sleep(0)
            seen.append(worker.readiness().code)
        assert isinstance(ended.exception(), StudioWorkerError)
    assert set(seen) <= {"ok", "draining", "no_session", "stopped"}
    assert "ok" not in seen[10:]
    assert worker.readiness().code == "stopped"


async def test_a_worker_that_lost_the_tries_to_write_what_it_could_not_ends_and_says_so(joined, studio, soon):
    async with Worker(joined()) as worker:
        await studio.welcomed()
        journal = worker._config.state_path / "journal.sqlite3"
        journal.unlink()
        journal.mkdir()
        await studio.offer(llm_claim("one"))
        while worker.readiness().code != "journal":
            await asyncio.sleep(0.001)
        assert "journal room" in tasks_of_ours()
        task_named("journal room").cancel()
        with pytest.raises(StudioWorkerError, match="journal room"):
            await soon(worker.run())
        assert worker.readiness().code == "stopped"


@pytest.mark.parametrize("part", OF_A_SESSION)
async def test_a_session_that_loses_one_of_its_tasks_ends_and_the_next_one_works(joined, studio, part):
    async with Worker(joined()) as worker:
        await studio.welcomed()
        await studio.frame("heartbeat")
        assert worker.readiness().is_ready
        task_named(f"session {part}").cancel()
        while (verdict := worker.readiness()).is_ready:
            await asyncio.sleep(0)
        assert verdict.code == "no_session"
        assert part in verdict.detail
        await studio.welcomed(2)
        await studio.offer(llm_claim("after"))
        await studio.frame("completeJson", job_id="after")
    assert studio.violations == []


async def test_a_cancellation_that_races_the_result_leaves_one_terminal_frame_a_job(joined, studio, gate, soon):
    studio.extensions = ("cancel",)
    rng = Random(7)
    async with Worker(joined(), engines=[gate]):
        for number in range(200):
            job_id = f"j-{number}"
            gate.opened.clear()
            await studio.offer(gated(job_id))
            await soon(gate.entered.get())
            steps = [studio.session.cancel(job_id), _set(gate.opened)]
            rng.shuffle(steps)
            await steps[0]
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            await steps[1]
            await studio.until(lambda job_id=job_id: _ends(studio, job_id), what=f"the end of {job_id}")
    assert [len(_ends(studio, f"j-{number}")) for number in range(200)] == [1] * 200
    assert {frame.type for number in range(200) for frame in _ends(studio, f"j-{number}")} == {"fail", "completeJson"}
    assert studio.violations == []


async def _set(event: asyncio.Event) -> None:
    event.set()


def _ends(studio, job_id):
    return [frame for kind in ("completeJson", "fail") for frame in studio.of_type(kind, job_id=job_id)]


async def test_a_local_cancellation_that_races_the_result_has_one_outcome(settings, gate, words, soon):
    rng, outcomes = Random(3), set()
    async with Worker(settings(), engines=[gate]) as worker:
        for _ in range(100):
            gate.opened.clear()
            job = worker.submit(words(), model="gate-llm")
            await soon(gate.entered.get())
            gate.opened.set()
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(0)
            told = job.cancel()
            try:
                await soon(job)
                outcome = "result"
            except JobCancelled:
                outcome = "cancelled"
            outcomes.add((told, outcome))
    assert outcomes <= {(True, "cancelled"), (False, "result")}
    assert len(outcomes) == 2


async def test_heartbeats_go_on_through_a_drain_that_takes_long(joined, studio, gate, soon):
    timings = Timings(heartbeat_secs=0.02)
    async with Worker(joined(), engines=[gate], timings=timings) as worker:
        await studio.offer(gated("slow"))
        await soon(gate.entered.get())
        draining = asyncio.create_task(worker.drain())
        beats = len(studio.of_type("heartbeat"))
        last = await studio.frame("heartbeat", nth=beats + 10)
        assert last["capabilities"]["autoEnabled"] is False
        assert last["currentJobId"] == "slow"
        gate.opened.set()
        await soon(draining)
    assert len(studio.of_type("completeJson")) == 1
    assert len(studio.sessions) == 1


async def test_a_job_that_is_offered_again_in_the_drain_is_adopted(joined, studio, gate, soon):
    async with Worker(joined(), engines=[gate]) as worker:
        await studio.offer(gated("slow"))
        await soon(gate.entered.get())
        draining = asyncio.create_task(worker.drain())
        studio.session.abort()
        await studio.welcomed(2)
        await studio.offer(gated("slow"))
        await studio.frame("accept", job_id="slow", nth=2)
        gate.opened.set()
        await soon(draining)
    assert len(studio.of_type("completeJson", job_id="slow")) == 1
    assert gate.entered.empty()


async def test_a_drain_waits_for_an_upload_that_is_tried_again(joined, studio, soon):
    studio.upload_answers.once(503, 503)
    async with Worker(joined()) as worker:
        await studio.offer(image_claim("cup"))
        await studio.upload("cup")
        await soon(worker.drain())
    assert [upload.status for upload in studio.uploads] == [503, 503, 200]


async def test_a_result_whose_upload_was_cancelled_is_sent_at_the_next_offer(joined, studio, soon):
    studio.upload_answers.always = 503
    async with Worker(joined()) as worker:
        await studio.offer(image_claim("cup"))
        await studio.upload("cup")
        task_named("upload-cup").cancel()
        while worker.status()["deliveries"] != {"pending": 0, "waiting": 1}:
            await asyncio.sleep(0.001)
        studio.upload_answers.always = None
        await studio.offer(image_claim("cup"))
        await soon(worker.drain())
    assert studio.uploads[-1].status == 200
    assert studio.of_type("fail", job_id="cup") == []


async def test_abandoning_does_not_wait_for_an_upload(joined, studio, soon):
    studio.upload_answers.always = 503
    async with Worker(joined()) as worker:
        await studio.offer(image_claim("cup"))
        await studio.upload("cup")
        await soon(worker.abandon())


async def test_a_listener_that_never_reads_does_not_hold_the_worker_up(joined, studio):
    async with Worker(joined()) as worker:
        deaf = worker.events()
        for number in range(30):
            await studio.offer(llm_claim(f"j-{number}"))
            await studio.frame("completeJson", job_id=f"j-{number}")
    assert len([event async for event in deaf]) >= 60


async def test_a_studio_that_comes_and_goes_is_found_again_each_time(joined, studio):
    async with Worker(joined()) as worker:
        await studio.welcomed()
        for number in range(2, 6):
            await studio.stop()
            await studio.start()
            await studio.welcomed(number)
        await studio.offer(llm_claim("after"))
        await studio.frame("completeJson", job_id="after")
        assert worker.status()["session"]["state"] == "connected"


async def test_a_config_source_that_raises_does_not_pass_unseen(joined, studio, soon):
    class Broken:
        def __init__(self) -> None:
            self.is_broken = False

        def refresh(self):
            if self.is_broken:
                raise RuntimeError("the disk is gone")
            return config

    config, source = joined(), Broken()

    async def live() -> None:
        async with Worker(config, config_source=source) as worker:
            await studio.welcomed()
            source.is_broken = True
            worker.resume()
            await soon(worker.run())

    with pytest.raises(BaseExceptionGroup) as caught:
        await live()
    assert caught.group_contains(RuntimeError, match="the disk is gone")
