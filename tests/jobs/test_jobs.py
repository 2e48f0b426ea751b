"""The jobs room as one object."""

import asyncio
import gc

import pytest

from studio_worker.engines.host import Host
from studio_worker.events import JobDelivered
from studio_worker.jobs import jobs
from studio_worker.jobs.delivery import Bounds
from studio_worker.testing.claims import silence_url
from studio_worker.wire.kinds import TaskKind


@pytest.mark.parametrize("kind", [kind.value for kind in TaskKind])
async def test_a_job_of_every_kind_comes_through(room, wire, claim, kind):
    task = {"inputUrl": silence_url()} if kind == "audio_stt" else {}
    room.offer(wire, claim(kind, task=task))
    if TaskKind(kind).is_binary:
        await room.events.until(JobDelivered)
    else:
        await wire.until("completeJson")
    assert not wire.of("fail")


async def test_folders_of_an_earlier_run_are_swept_at_the_start(open_room, tmp_path):
    job, result = "0f" * 8, "0f" * 16
    for left in (f"work/{job}", "spool"):
        (tmp_path / left).mkdir(parents=True)
    (tmp_path / "work" / job / "file").write_bytes(b"x")
    (tmp_path / "spool" / result).write_bytes(b"x")
    async with open_room(tmp_path):
        assert list((tmp_path / "work").iterdir()) == []
        assert list((tmp_path / "spool").iterdir()) == []


async def test_what_others_have_put_into_the_state_folder_stays(open_room, tmp_path):
    thesis, post = tmp_path / "work" / "thesis" / "chapter.txt", tmp_path / "spool" / "mail"
    for file in (thesis, post):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"mine")
    for _ in range(2):
        async with open_room(tmp_path):
            pass
        assert thesis.read_bytes() == post.read_bytes() == b"mine"


async def test_stopping_ends_every_task_and_leaves_no_file(open_room, tmp_path, wire, claim):
    before = asyncio.all_tasks()
    async with open_room(tmp_path, max_concurrent_jobs=1) as room:
        room.uploads.gate.clear()
        room.offer(wire, claim("image"))
        await room.uploads.started()
        room.engine.gate.clear()
        room.offer(wire, claim(job_id="job-2"))
        await room.engine.started(2)
    assert asyncio.all_tasks() == before
    assert list((tmp_path / "work").iterdir()) == []
    assert wire.types == ["accept", "accept"]


async def test_a_stopped_room_refuses_what_still_comes(open_room, tmp_path, wire, claim):
    async with open_room(tmp_path) as room:
        pass
    room.offer(wire, claim())
    assert wire.types == ["reject"]


async def test_a_folder_that_cannot_be_used_is_said_at_the_start(open_room, tmp_path):
    (tmp_path / "work").write_bytes(b"in the way")
    with pytest.raises(OSError, match="work"):
        await open_room(tmp_path).__aenter__()


async def test_the_hooks_hear_of_start_and_end(room, wire, claim, monkeypatch):
    heard = []
    monkeypatch.setattr(Host, "has_job_hooks", True)
    monkeypatch.setattr(Host, "job_started", lambda self, job: heard.append(("started", job.id)))
    monkeypatch.setattr(Host, "job_finished", lambda self, job, outcome: heard.append((outcome.status, job.id)))
    room.offer(wire, claim())
    await wire.until("completeJson")
    room.engine.gate.clear()
    room.offer(wire, claim(job_id="job-2"))
    await room.engine.started(2)
    room.desk.cancel("job-2", "enough")
    await wire.until("fail")
    assert heard == [("started", "job-1"), ("done", "job-1"), ("started", "job-2"), ("cancelled", "job-2")]


async def test_a_thousand_jobs_leave_nothing_behind(room, wire, claim):
    async def one(number):
        room.offer(wire, claim(job_id=f"job-{number}"))
        await wire.until("completeJson", f"job-{number}")
        room.delivery.acknowledge(f"job-{number}")
        room.events.events.clear()
        room.events.lines.clear()
        wire.frames.clear()

    for number in range(200):
        await one(number)
    await room.journal._batches.commit_all()
    gc.collect()
    tasks, objects = len(asyncio.all_tasks()), len(gc.get_objects())
    for number in range(1_000):
        room.engine.jobs.clear()
        await one(number)
    await room.journal._batches.commit_all()
    gc.collect()
    assert len(asyncio.all_tasks()) <= tasks
    assert len(gc.get_objects()) < objects + 2_000
    assert room.journal.owed == ()
    assert room.delivery.waiting == 0


async def test_results_that_nobody_asks_for_are_looked_at_as_long_as_the_worker_lives(
    open_room, tmp_path, wire, claim, monkeypatch
):
    monkeypatch.setattr(jobs, "UPKEEP_SECS", 0.01)
    async with open_room(tmp_path) as room:
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.delivery.resume()
        assert room.delivery.waiting == 1
        monkeypatch.setattr(room.delivery, "_bounds", Bounds(age_secs=-1.0))
        async with asyncio.timeout(10):
            while room.delivery.waiting:
                await asyncio.sleep(0.005)
