"""Whether a worker is ready, by evidence: the disk, the session, what its operator asked for."""

import asyncio
import os
import threading

import aiohttp
import pytest

from studio_worker import Worker
from studio_worker.clock import SystemClock
from studio_worker.jobs.journal import Trouble
from studio_worker.local_api.server import LocalApi
from studio_worker.lookout import Lookout
from studio_worker.readiness import (
    DISK_AGE_SECS,
    LEAST_FREE_BYTES,
    READY,
    DiskWatch,
    Readiness,
    session_problem,
)
from studio_worker.session.state import SessionSnapshot, SessionState
from studio_worker.session.timings import Timings
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.clocks import HandClock
from studio_worker.testing.scripted_studio import ScriptedStudio

CONNECTED = SessionState("connected")
TIMINGS = Timings()


def code_of(problem):
    return None if problem is None else problem.code


async def become(worker, code):
    async with asyncio.timeout(20):
        while worker.readiness().code != code:
            await asyncio.sleep(0.005)


# the disk


@pytest.fixture
def watch(tmp_path):
    free = {"bytes": LEAST_FREE_BYTES}
    watch = DiskWatch(tmp_path, HandClock(), free_bytes=lambda folder: free["bytes"])
    watch.free = free
    return watch


async def looked(watch):
    task = asyncio.create_task(watch.run())
    seen_at = watch._seen_at
    async with asyncio.timeout(20):
        while watch._clock.pauses == [] or watch._seen_at == seen_at == watch._clock.secs:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    watch._clock.pauses.clear()
    return watch.problem()


async def test_a_disk_without_room_is_told_with_its_figures_until_there_is_some(watch, tmp_path):
    assert await looked(watch) is None
    watch.free["bytes"] = LEAST_FREE_BYTES - 1
    assert await looked(watch) == Trouble("disk_full", f"{tmp_path} has 63 MiB left, 64 MiB are needed")
    watch.free["bytes"] = LEAST_FREE_BYTES
    assert await looked(watch) is None


async def test_a_state_folder_that_is_gone_is_told(tmp_path):
    watch = DiskWatch(tmp_path / "gone", HandClock())
    problem = await looked(watch)
    assert problem.code == "state_folder"
    assert "gone cannot be used: No such file" in problem.detail


async def test_a_state_folder_that_cannot_be_written_is_told(watch, monkeypatch):
    """Root may write everywhere: the system's own answer is stood in for."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written" in (await looked(watch)).detail


async def test_a_look_for_which_there_is_no_thread_grows_old_and_is_made_later(tmp_path, monkeypatch):
    monkeypatch.setattr("studio_worker.readiness.DISK_LOOK_SECS", 0.001)
    asked, real = [], Lookout.look

    async def look(lookout, call):
        asked.append(call)
        if len(asked) < 3:
            raise TimeoutError("can't start new thread")
        return await real(lookout, call)

    monkeypatch.setattr(Lookout, "look", look)
    watch = DiskWatch(tmp_path / "gone", SystemClock())
    looking = asyncio.create_task(watch.run())
    async with asyncio.timeout(10):
        while watch.problem() is None:
            await asyncio.sleep(0.001)
    looking.cancel()
    assert watch.problem().code == "state_folder"


def test_a_disk_that_does_not_answer_is_told_though_nothing_fails(watch):
    assert watch.problem() is None
    watch._clock.secs += DISK_AGE_SECS + 1
    assert watch.problem().code == "disk_hangs"


# the session


@pytest.mark.parametrize(
    ("snapshot", "code"),
    [
        (SessionSnapshot(CONNECTED, welcome_secs=3.0), None),
        (SessionSnapshot(CONNECTED, welcome_secs=60.0, last_ack_secs=6.0, last_frame_secs=6.0), None),
        (SessionSnapshot(CONNECTED, welcome_secs=60.0, last_ack_secs=12.0, last_frame_secs=0.1), "no_ack"),
        (SessionSnapshot(CONNECTED, welcome_secs=60.0, last_ack_secs=1.0, last_frame_secs=12.0), "no_frames"),
        (SessionSnapshot(CONNECTED, welcome_secs=12.0), "no_ack"),
        (SessionSnapshot(CONNECTED, welcome_secs=3.0, is_shy=True), "link_breaks"),
        (SessionSnapshot(CONNECTED, welcome_secs=2.0, last_ack_secs=900.0, last_frame_secs=0.1), None),
        (SessionSnapshot(SessionState("reconnecting", 2, 4.0, "gone")), "no_session"),
        (SessionSnapshot(SessionState("waiting_for_approval")), "no_session"),
        (SessionSnapshot(SessionState("connecting")), "no_session"),
    ],
)
def test_a_session_is_judged_by_what_came_and_when(snapshot, code):
    assert code_of(session_problem(snapshot, TIMINGS)) == code


def test_a_lost_session_is_told_with_its_reason():
    problem = session_problem(SessionSnapshot(SessionState("reconnecting", 1, 1.0, "no frame for 20 s")), TIMINGS)
    assert problem.detail == "no session with the studio: no frame for 20 s"
    assert problem.to_json() == {"ready": False, "code": "no_session", "detail": problem.detail}


# a whole worker


async def test_a_worker_of_local_jobs_is_ready_paused_and_ready_again(settings, gate):
    async with Worker(settings(), engines=[gate]) as worker:
        assert worker.readiness() == READY
        assert worker.status()["readiness"] == {"ready": True, "code": "ok", "detail": ""}
        worker.pause()
        assert worker.readiness().code == "paused"
        worker.resume()
        assert worker.readiness().is_ready
    assert worker.readiness() == Readiness("stopped", "the worker has stopped")


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


async def test_a_worker_whose_studio_stops_to_answer_is_not_ready_before_its_session_ends(settings, gate, studio):
    timings = Timings(heartbeat_secs=0.05, watch_secs=0.02, ack_secs=60.0, silence_secs=60.0)

    async def chatter(session, frame):
        await session.send({"type": "failAck", "jobId": "job-0"})
        return False

    async with Worker(settings(api_base_url=studio.url), engines=[gate], timings=timings) as worker:
        await become(worker, "ok")
        studio.withhold = {"heartbeatAck"}
        studio.on_frame = chatter
        await become(worker, "no_ack")
        studio.withhold = set()
        await become(worker, "ok")


async def test_a_worker_without_its_studio_has_no_session(settings, gate, studio):
    async with Worker(settings(api_base_url=studio.url), engines=[gate]) as worker:
        await become(worker, "ok")
        await studio.stop()
        await become(worker, "no_session")


async def test_a_state_folder_that_vanishes_makes_the_worker_not_ready(settings, gate, monkeypatch):
    monkeypatch.setattr("studio_worker.readiness.DISK_LOOK_SECS", 0.01)
    async with Worker(settings(), engines=[gate]) as worker:
        folder = worker._config.state_path
        folder.rename(folder.with_name("elsewhere"))
        await become(worker, "state_folder")
        folder.with_name("elsewhere").rename(folder)
        await become(worker, "ok")


async def test_a_disk_that_is_all_but_full_takes_no_offers_as_it_says(settings, gate, studio, monkeypatch):
    monkeypatch.setattr("studio_worker.readiness.DISK_LOOK_SECS", 0.01)
    monkeypatch.setattr("studio_worker.readiness.LEAST_FREE_BYTES", 2**62)
    async with Worker(settings(api_base_url=studio.url), engines=[gate]) as worker:
        await become(worker, "disk_full")
        await studio.offer(llm_claim("job-1", claim_fields={"engine": "gate", "model": "gate-llm"}))
        refused = await studio.frame("reject", job_id="job-1")
        assert refused["reason"].startswith("disk_full: ")
        monkeypatch.setattr("studio_worker.readiness.LEAST_FREE_BYTES", 0)
        await become(worker, "ok")
        await studio.offer(llm_claim("job-2", claim_fields={"engine": "gate", "model": "gate-llm"}))
        await studio.frame("accept", job_id="job-2")
        gate.opened.set()
        await studio.frame("completeJson", job_id="job-2")


def test_a_look_that_hangs_holds_nobody_up(tmp_path):
    """Not even the end of the loop, which waits for its own threads."""
    began, ended = threading.Event(), threading.Event()

    def hang(folder):
        began.set()
        ended.wait(60)
        return 0

    async def live():
        watching = asyncio.create_task(DiskWatch(tmp_path, HandClock(), free_bytes=hang).run())
        while not began.is_set():
            await asyncio.sleep(0.001)
        watching.cancel()

    running = threading.Thread(target=asyncio.run, args=(live(),), daemon=True)
    running.start()
    running.join(20)
    try:
        assert not running.is_alive()
    finally:
        ended.set()


async def test_a_journal_that_cannot_be_written_makes_the_worker_not_ready_until_it_can(settings, gate, studio, soon):
    studio.extensions = ("health",)
    gate.opened.set()
    async with Worker(settings(api_base_url=studio.url), engines=[gate]) as worker:
        await become(worker, "ok")
        journal = worker._config.state_path / "journal.sqlite3"
        journal.unlink()
        journal.mkdir()
        await studio.offer(llm_claim("job-1", claim_fields={"engine": "gate", "model": "gate-llm"}))
        await become(worker, "journal")
        assert str(journal) in worker.readiness().detail
        beat = await studio.frame("heartbeat", nth=len(studio.of_type("heartbeat")) + 1)
        assert (beat["health"]["ready"], beat["health"]["code"]) == (False, "journal")
        assert worker.status()["readiness"]["code"] == "journal"
        journal.rmdir()
        await become(worker, "ok")
        assert journal.is_file()


async def test_a_damaged_journal_leaves_the_worker_ready_and_is_told(settings, gate, studio):
    config = settings(api_base_url=studio.url)
    config.state_path.mkdir(parents=True)
    (config.state_path / "journal.sqlite3").write_bytes(b"nonsense" * 1_000)
    async with Worker(config, engines=[gate]) as worker:
        await become(worker, "ok")
        said = worker.status()["readiness"]
        assert said["ready"]
        assert f"what was left of it lies at {config.state_path}/journal.sqlite3.damaged-" in said["detail"]


async def test_probes_are_answered_without_a_token_by_code_alone(settings, gate, tmp_path):
    async with Worker(settings(), engines=[gate]) as worker:
        api = LocalApi(worker, port=0, discovery=tmp_path / "local-api.json")
        url = await api.start()
        try:
            async with aiohttp.ClientSession() as http:

                async def probe():
                    async with http.get(url + "/readyz") as answer:
                        return answer.status, await answer.json()

                assert await probe() == (200, {"ready": True, "code": "ok"})
                worker.pause()
                assert await probe() == (503, {"ready": False, "code": "paused"})
        finally:
            await api.aclose()


async def test_a_studio_that_asks_for_health_hears_the_same(settings, gate, studio):
    studio.extensions = ("health",)
    async with Worker(settings(api_base_url=studio.url), engines=[gate]) as worker:
        await become(worker, "ok")
        await studio.heartbeat(health={"ready": True, "code": "ok", "detail": ""})
        worker.pause()
        paused = {"ready": False, "code": "paused", "detail": "the operator paused the worker"}
        await studio.heartbeat(health=paused)
