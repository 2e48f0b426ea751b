"""Links: what goes out about a job, and where."""

import asyncio
import base64

import pytest

from studio_worker.errors import BadInput, EngineError, JobCancelled, LinkClosed
from studio_worker.jobs.links import MAX_ERROR, ClaimLink, LocalLink, tell_failure
from studio_worker.wire.frames import RejectCode


class TestAClaimsLink:
    async def test_echoes_id_and_attempt_in_every_frame(self, make_wire, kept_json):
        wire = make_wire("progress")
        link = ClaimLink(wire, "job-1", 7)
        link.accept()
        link.complete(kept_json())
        link.fail(BadInput("no"))
        link.reject("busy", RejectCode.BUSY)
        assert [(frame.job_id, frame.attempt) for frame in wire.frames] == [("job-1", 7)] * 4

    async def test_completes_with_the_whole_prompt_and_the_nulls_inside_the_result(self, wire, kept_json):
        await ClaimLink(wire, "job-1").complete(kept_json(json={"extra": None}, prompt="p" * 5_000))
        assert wire.frames[0].prompt == "p" * 5_000
        assert '"extra":null' in wire.frames[0].text()

    async def test_tells_a_failure_on_one_bounded_line(self, wire):
        ClaimLink(wire, "job-1").fail(EngineError("a\nb\x1b[2J" + "x" * 10_000))
        assert wire.frames[0].error.startswith("a\\nb\\x1b[2J")
        assert len(wire.frames[0].error) < 5_000
        assert wire.frames[0].retryable is True

    async def test_tells_a_failure_without_secrets_wherever_the_text_is_cut(self, wire):
        secret = "canary-0123456789"
        link = ClaimLink(wire, "job-1", masked=lambda text: text.replace(secret, "***"))
        link.fail(EngineError("x" * (MAX_ERROR - 8) + secret))
        link.reject(f"the engine said {secret}")
        assert "canary" not in wire.frames[0].error
        assert wire.frames[1].reason == "the engine said ***"

    async def test_raises_once_the_connection_is_gone_and_knows_it_then(self, wire):
        link = ClaimLink(wire, "job-1")
        wire.cut()
        assert not link.closed
        with pytest.raises(LinkClosed):
            link.accept()
        assert link.closed

    async def test_knows_of_a_connection_that_ended_before_the_frame_was_written(self, make_wire):
        wire = make_wire(holds_writes=True)
        link = ClaimLink(wire, "job-1")
        link.accept()
        wire.cut()
        await asyncio.sleep(0)
        assert link.closed

    async def test_sends_progress_only_where_the_studio_knows_it(self, make_wire):
        plain, knowing = make_wire(), make_wire("progress")
        ClaimLink(plain, "job-1").progress(1, 2, "run", None)
        ClaimLink(knowing, "job-1").progress(1, 2, "run", b"\xff\xd8\xff")
        assert plain.types == []
        frame = knowing.frames[0]
        assert (frame.step, frame.total, frame.stage) == (1, 2, "run")
        assert base64.b64decode(frame.preview) == b"\xff\xd8\xff"

    async def test_drops_progress_on_a_connection_that_is_gone(self, make_wire):
        wire = make_wire("progress")
        wire.cut()
        ClaimLink(wire, "job-1").progress(1, 2, "run", None)

    async def test_knows_whether_several_jobs_may_run_here(self, make_wire):
        assert ClaimLink(make_wire("capacity"), "job-1").has_capacity
        assert not ClaimLink(make_wire(), "job-1").has_capacity


class TestALocalLink:
    async def test_hands_the_result_to_the_caller(self, kept_json):
        link = LocalLink()
        await link.complete(kept_json())
        assert (await link.result).json["object"] == "chat.completion"

    async def test_ends_with_the_very_error(self):
        link = LocalLink()
        error = JobCancelled("enough")
        link.fail(error)
        with pytest.raises(JobCancelled) as caught:
            await link.result
        assert caught.value is error

    async def test_keeps_the_first_end(self, kept_json):
        link = LocalLink()
        await link.complete(kept_json())
        link.fail(BadInput("late"))
        assert await link.result

    async def test_that_is_rejected_raises_an_error_that_may_be_retried(self):
        link = LocalLink()
        link.reject("no room", RejectCode.BUSY)
        with pytest.raises(EngineError) as caught:
            await link.result
        assert caught.value.retryable

    async def test_tells_progress_to_whoever_follows(self):
        seen = []
        link = LocalLink(lambda *report: seen.append(report))
        assert link.wants_progress
        link.progress(1, 4, "run", b"x")
        assert seen == [(1, 4, "run", b"x")]

    async def test_without_a_follower_drops_progress(self):
        link = LocalLink()
        assert not link.wants_progress
        link.progress(1, 4, "run", None)

    async def test_whose_caller_went_away_leaves_no_unread_error_behind(self):
        link = LocalLink()
        link.result.cancel()
        link.fail(BadInput("nobody listens"))


async def test_a_failure_on_a_dead_link_is_told_to_nobody(wire):
    wire.cut()
    tell_failure(ClaimLink(wire, "job-1"), BadInput("no"), "job-1")
    assert wire.types == []
