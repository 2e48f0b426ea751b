"""What a scripted studio has seen, and how tests wait for it."""

from __future__ import annotations

import asyncio

import pytest

from studio_worker.testing.records import Record, SeenFrame, SeenRequest


def frame(frame_type: str, **fields: object) -> SeenFrame:
    return SeenFrame(frame_type, {"type": frame_type, **fields}, at=1.0, session=1, size=10)


def test_a_frames_fields_are_read_like_a_dictionarys() -> None:
    seen = frame("accept", jobId="j")
    assert (seen["jobId"], seen.get("attempt"), seen.get("attempt", 1)) == ("j", None, 1)
    with pytest.raises(KeyError):
        seen["attempt"]


@pytest.mark.parametrize(
    ("header", "bearer"), [("Bearer abc", "abc"), ("Basic abc", None), (None, None), ("Bearer ", "")]
)
def test_a_requests_bearer_is_that_of_its_header(header: str | None, bearer: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert SeenRequest("GET", "/", headers, at=0.0).bearer == bearer


def test_frames_are_found_by_type_and_by_fields_in_either_spelling() -> None:
    record = Record()
    record.frames += [frame("accept", jobId="a"), frame("accept", jobId="b"), frame("fail", jobId="a")]
    assert [seen["jobId"] for seen in record.of_type("accept")] == ["a", "b"]
    assert record.of_type("accept", job_id="b") == record.of_type("accept", jobId="b") == [record.frames[1]]
    assert record.of_type("accept", job_id="c") == []


async def test_what_is_true_already_is_not_waited_for() -> None:
    assert await Record().until(lambda: 7, timeout_secs=0) == 7


async def test_a_wait_ends_when_something_has_changed_and_gives_its_value() -> None:
    record = Record()
    waiting = asyncio.create_task(record.until(lambda: record.of_type("fail"), what="fail"))
    await asyncio.sleep(0)
    record.frames.append(frame("accept"))
    record.changed()
    await asyncio.sleep(0)
    assert not waiting.done()
    record.frames.append(frame("fail"))
    record.changed()
    assert await waiting == [record.frames[1]]


async def test_several_waits_are_woken_each_by_its_own() -> None:
    record = Record()

    async def seen(frame_type: str) -> str:
        return (await record.until(lambda: record.of_type(frame_type)))[0].type

    waiting = [asyncio.create_task(seen(name)) for name in ("fail", "accept")]
    await asyncio.sleep(0)
    for name in ("accept", "fail"):
        record.frames.append(frame(name))
        record.changed()
    assert await asyncio.gather(*waiting) == ["fail", "accept"]


async def test_a_wait_in_vain_lists_what_came_and_is_forgotten() -> None:
    record = Record()
    record.frames.append(frame("accept", jobId="a"))
    record.requests.append(SeenRequest("GET", "/x", {}, at=0.0))
    with pytest.raises(AssertionError, match=r"fail; last frames: \[accept\(a\)\]; last requests: \[GET /x\]"):
        await record.until(lambda: None, what="fail", timeout_secs=0.001)
    record.changed()
    assert record._waiting == []


async def test_what_was_there_and_went_again_is_told() -> None:
    record = Record()
    answers = iter([False, True, False])
    waiting = asyncio.create_task(record.until(lambda: next(answers), what="a moment"))
    await asyncio.sleep(0)
    record.changed()
    with pytest.raises(AssertionError, match="a moment was there and went again"):
        await waiting


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    record = Record()
    waiting = asyncio.create_task(record.until(lambda: None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert record._waiting == []


def test_the_summary_keeps_to_the_latest() -> None:
    record = Record()
    record.frames += [frame("heartbeat", jobId=str(number)) for number in range(100)]
    assert "heartbeat(99)" in record.summary()
    assert "heartbeat(69)" not in record.summary()
