"""A local job as its caller holds it, apart from any worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from studio_worker.engines.base import (
    AudioChunk,
    AudioResult,
    ImageResult,
    LlmResult,
    TextDelta,
    TranscriptResult,
    VideoResult,
)
from studio_worker.errors import EngineError, JobCancelled
from studio_worker.events import JobProgress
from studio_worker.jobs.results import Artifact, Entry, Kept
from studio_worker.local_job import Job
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.frames import RejectCode
from studio_worker.wire.kinds import TaskKind


def new_job(**options: bool) -> Job:
    return Job("local-1", lambda job_id, reason: False, **options)


def kept(kind: TaskKind, **artifact: object) -> Kept:
    entry = Entry(
        job_id="local-1",
        fingerprint=Fingerprint(),
        kind=kind,
        model="m",
        engine="e",
        prompt="",
        accepted_at=0.0,
        origin="local",
    )
    return Kept(entry=entry, artifact=Artifact(kind=kind, size=1, **artifact), kept_at=0.0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TaskKind.IMAGE, ImageResult(b"bytes", "png")),
        (TaskKind.AUDIO_TTS, AudioResult(b"bytes", "png")),
        (TaskKind.VIDEO, VideoResult(b"bytes", "png")),
    ],
)
@pytest.mark.parametrize("where", ["memory", "file"])
async def test_a_binary_result_comes_as_bytes_wherever_it_lay(tmp_path: Path, kind, expected, where):
    file = tmp_path / "result"
    file.write_bytes(b"bytes")
    job = new_job()
    job.link.complete(kept(kind, ext="png", data=b"bytes" if where == "memory" else file))
    assert await job == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(TaskKind.LLM, LlmResult({"a": 1})), (TaskKind.AUDIO_STT, TranscriptResult({"a": 1}))],
)
async def test_a_json_result_comes_as_its_object(kind, expected):
    job = new_job()
    job.link.complete(kept(kind, json={"a": 1}))
    assert await job == expected


async def test_several_waiters_get_the_same_result():
    job = new_job()

    async def wait() -> object:
        return await job

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    job.link.complete(kept(TaskKind.LLM, json={"a": 1}))
    assert await asyncio.gather(*waiting) == [LlmResult({"a": 1})] * 3


async def test_the_very_error_that_ended_the_job_is_raised_each_time():
    job, error = new_job(), EngineError("broken")
    job.link.fail(error)
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            await job
        assert caught.value is error


@pytest.mark.parametrize(("code", "retryable"), [(None, False), (RejectCode.BUSY, True)])
async def test_a_job_that_is_not_taken_says_whether_another_try_may_help(code, retryable):
    job = new_job()
    job.link.reject("no room", code)
    with pytest.raises(EngineError, match="no room") as caught:
        await job
    assert caught.value.retryable is retryable


async def test_the_first_end_of_a_job_is_its_end():
    job = new_job()
    job.link.fail(JobCancelled("enough"))
    job.link.complete(kept(TaskKind.LLM, json={}))
    job.link.fail(EngineError("late"))
    with pytest.raises(JobCancelled):
        await job


async def test_only_the_latest_progress_waits_for_a_slow_follower():
    job = new_job()
    for step in (1, 2, 3):
        job.link.progress(step, 3, "paint", b"p")
    assert await anext(job) == JobProgress("local-1", 3, 3, "paint", b"p")
    follower = asyncio.create_task(anext(job))
    await asyncio.sleep(0)
    assert not follower.done()
    job.link.progress(1, 2, "save", None)
    assert (await follower).stage == "save"


async def test_iteration_gives_what_waits_and_then_ends_with_the_job():
    job = new_job()
    job.link.progress(1, 1, "run", None)
    job.link.fail(EngineError("broken"))
    assert [each.step async for each in job] == [1]
    assert [each async for each in job] == []


async def test_a_waiting_follower_is_woken_by_the_end_of_the_job():
    job = new_job()
    follower = asyncio.create_task(anext(job, None))
    await asyncio.sleep(0)
    job.link.complete(kept(TaskKind.LLM, json={}))
    assert await follower is None


async def test_pieces_of_a_result_come_each_and_in_order_ahead_of_the_latest_progress():
    job = new_job(stream=True)
    for piece in (TextDelta("a"), TextDelta("b"), AudioChunk(b"\0\0", 8_000)):
        job.link.on_chunk(piece)
        job.link.progress(1, 1, "run", None)
    job.link.complete(kept(TaskKind.LLM, json={}))
    seen = [each async for each in job]
    assert seen == [TextDelta("a"), TextDelta("b"), AudioChunk(b"\0\0", 8_000), JobProgress("local-1", 1, 1)]


async def test_a_follower_that_waits_is_woken_by_a_piece():
    job = new_job(stream=True)
    follower = asyncio.create_task(anext(job))
    await asyncio.sleep(0)
    job.link.on_chunk(TextDelta("a"))
    assert await follower == TextDelta("a")


async def test_a_job_that_does_not_stream_wants_no_pieces():
    assert new_job().link.on_chunk is None


async def test_how_a_result_was_made_is_known_once_it_is_there():
    job, failed = new_job(), new_job()
    assert job.meta == {}
    job.link.complete(kept(TaskKind.LLM, json={}, meta={"seed": 7}))
    failed.link.fail(EngineError("broken"))
    assert (job.meta, failed.meta) == ({"seed": 7}, {})


async def test_cancelling_hands_the_reason_on_and_says_whether_it_could():
    asked: list[tuple[str, str]] = []

    def cancel(job_id: str, reason: str) -> bool:
        asked.append((job_id, reason))
        return True

    job = Job("local-7", cancel)
    assert job.cancel("enough")
    assert job.cancel()
    assert asked == [("local-7", "enough"), ("local-7", "its caller asked for it")]
