"""Deliveries: results on their way, until somebody has them."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from studio_worker.errors import LinkClosed, ResultRejected
from studio_worker.events import JobDelivered, JobFailed
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.delivery import Bounds, Delivery
from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.links import ClaimLink
from studio_worker.jobs.retrying import RESTORED_AT_ONCE
from studio_worker.jobs.settlement import Answer
from studio_worker.wire.claims import Fingerprint

from .journal_rows import rows


class Desk:
    """A delivery with what it reports to."""

    def __init__(self, group, uploads, events, clock, state, bounds=None):
        self.state = state
        self.journal = KeptJournal(state, "https://studio.test", clock)
        self.uploads, self.events, self.clock = uploads, events, clock
        self.signed_out = 0
        self.delivery = Delivery(
            journal=self.journal,
            uploads=uploads,
            start=lambda work, name: group.create_task(work, name=name),
            chronicle=Chronicle(events, events, clock),
            clock=clock,
            rng=random.Random(3),
            signed_out=self.sign_out,
            bounds=bounds,
        )

    def sign_out(self):
        self.signed_out += 1

    def post(self, kept, wire):
        self.journal.accept(kept.entry)
        self.delivery.post(kept, ClaimLink(wire, kept.job_id, kept.entry.attempt))

    async def rows(self):
        """What the journal's file says by now."""
        await self.journal._batches.commit_all()
        return rows(self.state)

    def adopt(self, job_id, wire, attempt=None, fingerprint="f"):
        return self.delivery.adopt(job_id, Fingerprint(text=fingerprint), ClaimLink(wire, job_id, attempt))


def upload_of(job_id):
    """The task that uploads a job's result."""
    return next(task for task in asyncio.all_tasks() if task.get_name() == f"upload-{job_id}")


@pytest.fixture
async def desk(uploads, events, clock, tmp_path):
    async with asyncio.TaskGroup() as group:
        found = Desk(group, uploads, events, clock, tmp_path / "state")
        await found.journal.open()
        yield found
        for task in list(group._tasks):
            task.cancel()
        await found.journal.aclose()


@pytest.fixture
async def bounded(uploads, events, clock, tmp_path):
    """Makes a desk whose results may not be many."""
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:

        async def make(**bounds):
            found = Desk(group, uploads, events, clock, tmp_path / "bounded", Bounds(**bounds))
            await found.journal.open()
            stack.push_async_callback(found.journal.aclose)
            return found

        yield make
        for task in list(group._tasks):
            task.cancel()


@pytest.fixture
def picture_file(tmp_path):
    file = tmp_path / "result.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return file


class TestAJsonResult:
    async def test_is_sent_and_forgotten_when_acknowledged(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        assert wire.types == ["completeJson"]
        await asyncio.sleep(0)
        assert (desk.delivery.pending, desk.delivery.waiting) == (0, 1)
        desk.delivery.acknowledge("job-1")
        assert (desk.delivery.waiting, desk.journal.owed) == (0, ())
        assert desk.events.of(JobDelivered)[0].seconds == 0

    async def test_counts_as_pending_until_its_frame_is_written(self, desk, make_wire, kept_json):
        wire = make_wire(holds_writes=True)
        desk.post(kept_json(), wire)
        assert desk.delivery.pending == 1
        wire.write()
        await asyncio.sleep(0)
        assert desk.delivery.pending == 0

    async def test_stays_kept_where_the_connection_is_gone(self, desk, wire, kept_json):
        wire.cut()
        desk.post(kept_json(), wire)
        assert (desk.delivery.pending, desk.delivery.waiting) == (0, 1)
        assert desk.journal.owed == ("job-1",)
        assert await desk.rows() == [("job-1", Stage.WAITING)]

    async def test_stays_kept_where_the_connection_ends_before_it_was_written(self, desk, make_wire, kept_json):
        wire = make_wire(holds_writes=True)
        desk.post(kept_json(), wire)
        wire.cut()
        await asyncio.sleep(0)
        assert (desk.delivery.pending, desk.delivery.waiting) == (0, 1)

    async def test_goes_out_again_on_the_connection_of_the_next_offer(self, desk, wire, make_wire, kept_json):
        desk.post(kept_json(), wire)
        second = make_wire()
        assert desk.adopt("job-1", second, attempt=2)
        assert second.types == ["accept", "completeJson"]
        assert second.frames[1].attempt == 2

    async def test_acknowledged_twice_is_delivered_once(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        desk.delivery.acknowledge("job-1")
        desk.delivery.acknowledge("job-1")
        assert len(desk.events.of(JobDelivered)) == 1

    async def test_is_not_adopted_for_another_task(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        assert not desk.adopt("job-1", wire, fingerprint="another")
        assert desk.delivery.waiting == 1
        assert "accept" not in wire.types

    async def test_lets_go_of_the_claim_once_it_is_shelved(self, desk, wire, kept_json):
        claim = {"model": "m", "task": {"kind": "llm"}}
        wire.cut()
        kept = kept_json(fingerprint=Fingerprint(claim))
        desk.post(kept, wire)
        claim["model"] = "another"
        assert kept.entry.fingerprint == Fingerprint({"model": "m", "task": {"kind": "llm"}})

    async def test_is_not_adopted_for_a_claim_without_a_fingerprint(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        assert not desk.adopt("job-1", wire, fingerprint="")

    async def test_that_was_written_late_on_a_dead_link_does_not_shelve_the_new_one(self, desk, make_wire, kept_json):
        first, second = make_wire(holds_writes=True), make_wire()
        desk.post(kept_json(), first)
        desk.adopt("job-1", second)
        first.cut()
        await asyncio.sleep(0)
        assert desk.delivery.waiting == 1
        desk.delivery.acknowledge("job-1")
        assert desk.delivery.waiting == 0

    async def test_is_not_written_before_its_latest_frame_is(self, desk, make_wire, kept_json):
        first, second = make_wire(holds_writes=True), make_wire(holds_writes=True)
        desk.post(kept_json(), first)
        desk.adopt("job-1", second)
        first.write()
        await asyncio.sleep(0)
        assert (desk.delivery.pending, desk.delivery.waiting) == (1, 0)
        second.write()
        await asyncio.sleep(0)
        assert (desk.delivery.pending, desk.delivery.waiting) == (0, 1)


async def test_an_acknowledgement_of_nothing_is_ignored(desk):
    desk.delivery.acknowledge("nobody")
    assert desk.events.events == []


async def test_a_job_that_nobody_keeps_is_not_adopted(desk, wire):
    assert not desk.adopt("job-1", wire)
    assert wire.types == []


class TestABinaryResult:
    async def test_is_uploaded_and_forgotten(self, desk, wire, kept_file, picture_file):
        desk.post(kept_file(picture_file), wire)
        await desk.events.until(JobDelivered)
        assert wire.types == []
        assert desk.journal.owed == ()
        assert desk.uploads.seen[0].file == picture_file

    async def test_is_tried_again_until_the_studio_takes_it(self, desk, wire, clock, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=status) for status in (503, None, 302, 429)]
        desk.post(kept_file(picture_file), wire)
        for number in range(1, 5):
            await clock.asleep(number)
            clock.advance(clock.slept[-1])
        await desk.events.until(JobDelivered)
        assert len(desk.uploads.seen) == 5
        assert wire.types == []

    async def test_waits_as_long_as_the_studio_asks(self, desk, wire, clock, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=429, retry_after="120")]
        desk.post(kept_file(picture_file), wire)
        await clock.asleep()
        assert clock.slept == [120]

    async def test_that_waits_for_its_next_try_goes_at_once_when_its_job_is_offered_again(
        self, desk, wire, clock, kept_file, picture_file
    ):
        desk.uploads.answers = [Answer(status=503)]
        desk.post(kept_file(picture_file), wire)
        await clock.asleep()
        assert desk.adopt("job-1", wire, attempt=5)
        await desk.events.until(JobDelivered)
        assert [kept.entry.attempt for kept in desk.uploads.seen] == [None, 5]
        assert clock.monotonic() == 1_000.0

    async def test_an_offer_does_not_shorten_the_time_that_the_studio_has_asked_for(
        self, desk, wire, clock, kept_file, picture_file
    ):
        desk.uploads.answers = [Answer(status=429, retry_after="120")]
        desk.post(kept_file(picture_file), wire)
        await clock.asleep()
        assert desk.adopt("job-1", wire)
        clock.advance(119)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(desk.uploads.seen) == 1
        clock.advance(1)
        await desk.events.until(JobDelivered)

    async def test_survives_ten_minutes_of_503_and_is_delivered_once(self, desk, wire, clock, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=503)] * 60
        desk.post(kept_file(picture_file), wire)
        for number in range(1, 61):
            await clock.asleep(number)
            clock.advance(30)
        await desk.events.until(JobDelivered)
        assert len(desk.events.of(JobDelivered)) == 1

    @pytest.mark.parametrize(
        "answer", [Answer(status=404), Answer(status=409, reason="cancelled"), Answer(status=409, reason="done")]
    )
    async def test_that_is_not_ours_any_more_is_forgotten_without_a_fail(
        self, desk, wire, kept_file, picture_file, answer
    ):
        desk.uploads.answers = [answer]
        desk.post(kept_file(picture_file), wire)
        await desk.delivery.flushed()
        assert wire.types == []
        assert desk.journal.owed == ()
        assert desk.delivery.waiting == 0

    async def test_that_the_studio_had_already_counts_as_delivered(self, desk, wire, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=409, reason="done")]
        desk.post(kept_file(picture_file), wire)
        await desk.events.until(JobDelivered)
        assert not desk.events.of(JobFailed)

    async def test_answered_409_without_a_reason_stays_kept_and_is_not_sent_again_unasked(
        self, desk, wire, kept_file, picture_file
    ):
        desk.uploads.answers = [Answer(status=409)]
        desk.post(kept_file(picture_file), wire)
        await desk.delivery.flushed()
        desk.delivery.resume()
        assert (desk.delivery.waiting, len(desk.uploads.seen)) == (1, 1)
        assert wire.types == []
        assert picture_file.exists()
        assert await desk.rows() == [("job-1", Stage.WAITING)], "the next process would upload it unasked"

    async def test_that_waits_is_uploaded_when_its_job_is_offered_again(self, desk, wire, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=409)]
        desk.post(kept_file(picture_file), wire)
        await desk.delivery.flushed()
        assert desk.adopt("job-1", wire, attempt=5)
        await desk.events.until(JobDelivered)
        assert wire.types == ["accept"]
        assert [kept.entry.attempt for kept in desk.uploads.seen] == [None, 5]

    async def test_that_is_refused_fails_the_job_for_good(self, desk, wire, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=413, text="too large")]
        desk.post(kept_file(picture_file, attempt=3), wire)
        failure = await wire.until("fail")
        assert "413" in failure.error
        assert "too large" in failure.error
        assert (failure.retryable, failure.attempt) == (False, 3)
        assert desk.journal.owed == ()

    async def test_that_is_refused_on_a_dead_link_sends_nothing(self, desk, wire, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=413)]
        wire.cut()
        desk.post(kept_file(picture_file), wire)
        await desk.events.until(JobFailed)
        assert wire.types == []

    async def test_is_uploaded_once_more_where_its_job_was_accepted_meanwhile(
        self, desk, wire, kept_file, picture_file
    ):
        desk.uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        await desk.uploads.started()
        desk.adopt("job-1", wire)
        desk.uploads.gate.set()
        await desk.events.until(JobDelivered)
        assert len(desk.uploads.seen) == 2
        assert len(desk.events.of(JobDelivered)) == 1

    async def test_gives_way_to_another_task_under_its_id(self, desk, wire, kept_file, picture_file):
        desk.uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        await desk.uploads.started()
        upload = upload_of("job-1")
        desk.delivery.give_way("job-1")
        desk.uploads.gate.set()
        await asyncio.wait([upload])
        assert upload.cancelled()
        assert desk.events.events == []
        assert wire.types == []

    async def test_whose_upload_does_not_heed_its_cancelling_leaves_a_newer_result_alone(
        self, desk, wire, kept_file, kept_json, picture_file
    ):
        async def stubborn(kept, meanwhile):
            with suppress(asyncio.CancelledError):
                await desk.uploads.gate.wait()
            return Answer(status=404)

        desk.uploads.upload = stubborn
        desk.uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        await asyncio.sleep(0)
        upload = upload_of("job-1")
        desk.post(kept_json(fingerprint=Fingerprint(text="another")), wire)
        desk.uploads.gate.set()
        await asyncio.wait([upload])
        assert not upload.cancelled()
        assert desk.delivery.waiting == 1
        desk.delivery.acknowledge("job-1")
        assert desk.delivery.waiting == 0

    async def test_goes_on_while_the_session_is_lost(self, desk, wire, kept_file, picture_file):
        desk.uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        await desk.uploads.started()
        wire.cut()
        desk.uploads.gate.set()
        await desk.events.until(JobDelivered)

    async def test_that_nobody_takes_is_given_up_at_its_age(self, desk, wire, clock, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=503)] * 5
        desk.post(kept_file(picture_file), wire)
        await clock.asleep()
        clock.advance(8 * 24 * 3600)
        failed = await desk.events.until(JobFailed)
        assert "too-old" in failed.error

    async def test_whose_file_is_lost_fails_so_that_it_runs_again(self, desk, wire, kept_file, picture_file):
        async def lost(kept, meanwhile):
            raise ResultRejected("spool-lost", "the kept result cannot be read")

        desk.uploads.upload = lost
        desk.post(kept_file(picture_file), wire)
        failure = await wire.until("fail")
        assert failure.retryable is True
        assert failure.error == "the kept result cannot be read (rule: spool-lost)"

    async def test_that_meets_a_flaw_of_ours_fails_alone(self, desk, wire, kept_file, kept_json, picture_file):
        async def broken(kept, meanwhile):
            raise ZeroDivisionError("a flaw")

        desk.uploads.upload = broken
        desk.post(kept_file(picture_file), wire)
        failure = await wire.until("fail")
        assert failure.retryable is True
        assert failure.error == "the result could not be delivered: a flaw (rule: delivery-broke)"
        desk.post(kept_json("job-2"), wire)
        await wire.until("completeJson")


class TestASignedOutUpload:
    async def test_tells_the_session_and_waits_for_its_welcome(self, desk, wire, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=401)]
        desk.post(kept_file(picture_file), wire)
        await desk.uploads.started()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (desk.signed_out, len(desk.uploads.seen), desk.delivery.pending) == (1, 1, 1)
        desk.delivery.resume()
        await desk.events.until(JobDelivered)
        assert len(desk.uploads.seen) == 2

    async def test_goes_on_at_once_where_a_welcome_came_meanwhile(self, desk, wire, kept_file, picture_file):
        desk.uploads.answers = [Answer(status=401)]
        desk.uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        await desk.uploads.started()
        desk.delivery.resume()
        desk.uploads.gate.set()
        await desk.events.until(JobDelivered)
        assert desk.signed_out == 0

    async def test_backs_off_where_sessions_are_welcome_and_uploads_are_not(
        self, desk, wire, clock, kept_file, picture_file
    ):
        desk.uploads.answers = [Answer(status=401)] * 2
        desk.post(kept_file(picture_file), wire)
        for number in (1, 2):
            await desk.uploads.started(number)
            for _ in range(5):
                await asyncio.sleep(0)
            desk.delivery.resume()
        await clock.asleep()
        assert len(desk.uploads.seen) == 2
        clock.advance(60)
        await desk.events.until(JobDelivered)


async def test_an_upload_that_is_cancelled_before_its_first_step_waits_for_the_next_offer(
    desk, wire, kept_file, picture_file, events
):
    desk.post(kept_file(picture_file), wire)
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "upload-job-1"]
    task.cancel()
    await asyncio.wait_for(desk.delivery.flushed(), 10)
    assert (desk.delivery.pending, desk.delivery.waiting) == (0, 1)
    assert desk.adopt("job-1", wire)
    await events.until(JobDelivered)


class TestFlushing:
    async def test_an_idle_delivery_is_over_at_once(self, desk):
        await desk.delivery.flushed()

    async def test_waits_for_the_acknowledgement_of_what_was_sent(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        flushing = asyncio.create_task(desk.delivery.flushed())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not flushing.done()
        desk.delivery.acknowledge("job-1")
        await flushing

    async def test_waits_for_uploads(self, desk, wire, kept_file, picture_file):
        desk.uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        flushing = asyncio.create_task(desk.delivery.flushed())
        await desk.uploads.started()
        assert not flushing.done()
        desk.uploads.gate.set()
        await flushing

    async def test_does_not_wait_for_what_only_another_offer_can_deliver(self, desk, wire, kept_json):
        wire.cut()
        desk.post(kept_json(), wire)
        await desk.delivery.flushed()

    async def test_does_not_wait_for_what_a_session_sent_that_is_over(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        await asyncio.sleep(0)
        flushing = asyncio.create_task(desk.delivery.flushed())
        await asyncio.sleep(0)
        assert not flushing.done()
        desk.delivery.suspend()
        await flushing
        assert desk.delivery.waiting == 1

    async def test_does_not_wait_for_what_an_older_session_sent(self, desk, wire, kept_json):
        desk.post(kept_json(), wire)
        await asyncio.sleep(0)
        desk.delivery.resume()
        await desk.delivery.flushed()
        assert desk.delivery.waiting == 1


class TestBounds:
    async def test_results_that_nobody_has_asked_for_are_kept_however_many(self, bounded, wire, kept_json):
        desk = await bounded(results=2)
        for number in range(3):
            desk.post(kept_json(f"job-{number}"), wire)
            await asyncio.sleep(0)
        assert desk.delivery.waiting == 3
        assert desk.adopt("job-0", wire)

    @pytest.mark.parametrize("bounds", [{"results": 2}, {"total_bytes": 800}, {"memory_bytes": 800}])
    async def test_that_are_reached_are_a_trouble_until_a_result_is_settled(self, bounded, wire, kept_json, bounds):
        desk = await bounded(**bounds)
        desk.post(kept_json("job-0", size=400), wire)
        assert desk.delivery.trouble is None
        desk.post(kept_json("job-1", size=400), wire)
        await asyncio.sleep(0)
        assert desk.delivery.trouble.code == "spool_full"
        desk.delivery.acknowledge("job-0")
        assert desk.delivery.trouble is None

    async def test_prompts_count_as_what_lies_in_memory(self, bounded, wire, kept_json, kept_file, picture_file):
        desk = await bounded(memory_bytes=1_000_000)
        desk.uploads.gate.clear()
        for number, kept in enumerate((kept_json(), kept_file(picture_file))):
            entry = replace(kept.entry, job_id=f"job-{number}", prompt="ü" * 600_000)
            desk.post(replace(kept, entry=entry), wire)
        assert desk.delivery.trouble.code == "spool_full"
        assert "prompts wait, 1,000,000 are the most" in desk.delivery.trouble.detail

    async def test_what_was_counted_of_a_result_goes_with_it(self, desk, wire, kept_json):
        # SQLite takes a text in UTF-8, which from then on lies beside it in memory.
        kept = kept_json()
        desk.post(replace(kept, entry=replace(kept.entry, prompt="ü" * 10_000)), wire)
        await desk.journal._batches.commit_all()
        desk.delivery.acknowledge("job-1")
        assert (desk.delivery._bytes, desk.delivery._memory_bytes) == (0, 0)

    async def test_what_is_too_old_goes_with_the_next_result(self, desk, wire, clock, kept_json):
        desk.post(kept_json(), wire)
        await asyncio.sleep(0)
        clock.advance(8 * 24 * 3600)
        desk.post(replace(kept_json("job-2"), kept_at=clock.monotonic()), wire)
        assert not desk.adopt("job-1", wire)
        assert desk.adopt("job-2", wire)

    async def test_what_is_too_old_makes_room_without_another_result(self, bounded, wire, clock, kept_json):
        desk = await bounded(results=1)
        desk.post(kept_json(), wire)
        await asyncio.sleep(0)
        assert desk.delivery.trouble is not None
        clock.advance(8 * 24 * 3600)
        desk.delivery.give_up_old()
        assert desk.delivery.trouble is None

    async def test_an_upload_is_never_given_up_for_its_age_by_another_result(
        self, desk, clock, wire, uploads, kept_json, kept_file, picture_file
    ):
        uploads.gate.clear()
        desk.post(kept_file(picture_file), wire)
        clock.advance(8 * 24 * 3600)
        desk.post(kept_json("job-2"), wire)
        assert desk.delivery.uploading == ("job-1",)


class TestARestoredResult:
    async def test_that_is_json_waits_for_its_offer_and_is_then_answered(self, desk, wire, kept_json):
        desk.delivery.restore(kept_json(), is_unsent=False)
        assert (desk.delivery.pending, desk.delivery.waiting) == (0, 1)
        assert desk.adopt("job-1", wire, attempt=3)
        assert wire.types == ["accept", "completeJson"]
        assert wire.frames[1].attempt == 3

    async def test_that_looks_years_old_is_given_while_the_clock_may_be_wrong(self, desk, wire, clock, kept_json):
        old = replace(kept_json(), kept_at=clock.monotonic() - 10 * 365 * 24 * 3600)
        desk.delivery.restore(old, is_unsent=False)
        clock.advance(3_000)
        desk.post(replace(kept_json("job-2"), kept_at=clock.monotonic()), wire)
        assert desk.adopt("job-1", wire)

    async def test_that_looks_years_old_is_given_up_an_hour_later(self, desk, wire, clock, kept_json):
        old = replace(kept_json(), kept_at=clock.monotonic() - 10 * 365 * 24 * 3600)
        desk.delivery.restore(old, is_unsent=False)
        clock.advance(3_601)
        desk.post(replace(kept_json("job-2"), kept_at=clock.monotonic()), wire)
        assert not desk.adopt("job-1", wire)

    async def test_that_is_binary_is_uploaded_unasked(self, desk, uploads, kept_file, picture_file, events):
        desk.delivery.restore(kept_file(picture_file), is_unsent=True)
        await events.until(JobDelivered)
        assert [kept.job_id for kept in uploads.seen] == ["job-1"]

    async def test_takes_its_turn_and_the_oldest_come_first(self, desk, uploads, kept_file, picture_file, events):
        uploads.gate.clear()
        for number in range(50):
            desk.delivery.restore(kept_file(picture_file, f"job-{number:02}"), is_unsent=True)
        await uploads.started(RESTORED_AT_ONCE)
        for _ in range(10):
            await asyncio.sleep(0)
        assert [kept.job_id for kept in uploads.seen] == ["job-00", "job-01"]
        uploads.gate.set()
        await events.until(JobDelivered, 50)
        assert [kept.job_id for kept in uploads.seen] == [f"job-{number:02}" for number in range(50)]

    async def test_whose_job_is_accepted_while_it_waits_for_its_turn_is_uploaded_once(
        self, desk, wire, uploads, kept_file, picture_file, events
    ):
        uploads.gate.clear()
        for number in range(RESTORED_AT_ONCE + 1):
            desk.delivery.restore(kept_file(picture_file, f"job-{number}"), is_unsent=True)
        await uploads.started(RESTORED_AT_ONCE)
        assert desk.adopt(f"job-{RESTORED_AT_ONCE}", wire)
        uploads.gate.set()
        await events.until(JobDelivered, RESTORED_AT_ONCE + 1)
        assert len(uploads.seen) == RESTORED_AT_ONCE + 1

    async def test_that_a_studio_has_called_not_ours_is_not_uploaded_before_it_offers_the_job(
        self, desk, wire, uploads, kept_file, picture_file, events
    ):
        desk.delivery.restore(kept_file(picture_file), is_unsent=False)
        await asyncio.sleep(0)
        assert uploads.seen == []
        assert desk.adopt("job-1", wire)
        await events.until(JobDelivered)

    async def test_that_cannot_be_delivered_says_nothing_to_a_studio_that_has_not_asked(
        self, desk, uploads, kept_file, picture_file, events
    ):
        uploads.answers = [Answer(status=422, text="too wide")]
        desk.delivery.restore(kept_file(picture_file), is_unsent=True)
        failed = await events.until(JobFailed)
        assert "422" in failed.error
        assert desk.delivery.waiting == 0


async def test_an_offer_whose_connection_is_gone_leaves_what_is_kept(desk, wire, make_wire, kept_json):
    desk.post(kept_json(), wire)
    gone, third = make_wire(), make_wire()
    gone.cut()
    with pytest.raises(LinkClosed):
        desk.adopt("job-1", gone)
    assert desk.adopt("job-1", third)
