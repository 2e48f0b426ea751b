"""Offers: what is taken, adopted, refused, in which order."""

import asyncio

import pytest

from studio_worker.engines.base import ImageResult
from studio_worker.errors import JobCancelled, JobError
from studio_worker.events import JobAccepted, JobDelivered, JobFailed
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.plan import LocalOrder
from studio_worker.jobs.settlement import Answer
from studio_worker.wire.tasks import parse_task

from .journal_rows import rows


def order(job_id="local-1", kind="llm", **task):
    fields = {"llm": {"messages": [{"role": "user", "content": "hi"}]}, "image": {"prompt": "a cup"}}[kind]
    return LocalOrder(job_id=job_id, model=f"gate-{kind}", task=parse_task({"kind": kind, **fields, **task}))


async def test_a_job_task_that_is_cancelled_before_its_first_step_frees_its_seat(room, wire, claim):
    room.offer(wire, claim())
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "job-job-1"]
    task.cancel()
    await asyncio.wait([task])
    await asyncio.wait_for(room.desk.drained(), 10)
    room.offer(wire, claim(job_id="job-2"))
    await wire.until("completeJson")


async def test_a_local_job_that_is_cancelled_before_its_first_step_is_told_so(room):
    link = LocalLink()
    room.desk.submit(order(), link)
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "job-local-1"]
    task.cancel()
    with pytest.raises(JobCancelled, match="the worker was stopped"):
        await asyncio.wait_for(link.result, 10)


class TestAnOffer:
    async def test_is_accepted_run_and_completed(self, room, wire, claim):
        room.offer(wire, claim())
        done = await wire.until("completeJson")
        assert wire.types == ["accept", "completeJson"]
        assert done.result["choices"][0]["message"]["content"] == "hello"
        assert done.prompt == "a secret question"

    async def test_of_a_picture_ends_in_an_upload_and_no_frame(self, room, wire, claim):
        room.offer(wire, claim("image"))
        kept = await room.uploads.started()
        await room.events.until(JobDelivered)
        assert wire.types == ["accept"]
        assert kept.artifact.ext == "png"
        assert kept.artifact.meta["engine"] == "gate"
        assert kept.entry.prompt == "a secret cup"

    async def test_carries_its_attempt_into_every_message(self, room, wire, claim):
        room.offer(wire, claim(attempt=3))
        await wire.until("completeJson")
        room.offer(wire, claim("image", "job-2", attempt=4))
        assert (await room.uploads.started()).entry.attempt == 4
        assert [frame.attempt for frame in wire.frames] == [3, 3, 4]

    async def test_is_told_to_events_and_to_the_studios_log_without_its_prompt(self, room, wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.delivery.acknowledge("job-1")
        room.jobs.tell()
        accepted = room.events.of(JobAccepted)[0]
        assert (accepted.job_id, accepted.model, accepted.engine, accepted.origin) == (
            "job-1",
            "gate-llm",
            "gate",
            "studio",
        )
        said = [message for _, message, job_id in room.events.lines if job_id == "job-1"]
        assert [line.split(":")[0].split(" ")[0] for line in said] == ["offered", "accepted", "delivered"]
        assert "secret" not in "".join(said)

    async def test_while_another_job_runs_is_rejected_as_busy(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        room.offer(wire, claim(job_id="job-2"))
        assert wire.of("reject")[0].job_id == "job-2"
        assert wire.of("reject")[0].code == "busy"
        assert not wire.of("fail")

    async def test_to_a_paused_worker_is_rejected_as_paused_until_it_resumes(self, room, wire, claim):
        room.desk.pause()
        room.offer(wire, claim())
        assert wire.of("reject")[0].code == "paused"
        room.desk.resume()
        room.offer(wire, claim())
        await wire.until("completeJson")

    async def test_to_a_draining_worker_is_rejected_as_paused(self, room, wire, claim):
        room.desk.close()
        room.offer(wire, claim())
        assert [wire.frames[0].type, wire.frames[0].code] == ["reject", "paused"]

    async def test_with_a_bad_field_is_busy_or_paused_before_anybody_reads_the_field(self, room, wire, claim):
        room.desk.pause()
        room.offer(wire, claim(task={"maxTokens": -1}))
        assert wire.types == ["reject"]

    async def test_on_a_connection_that_is_gone_leaves_nothing_behind(self, room, wire, claim):
        wire.cut()
        room.offer(wire, claim())
        assert room.desk.jobs() == ()
        assert room.journal.owed == ()
        assert room.engine.runs == 0

    async def test_finds_its_seat_free_as_soon_as_the_result_before_it_was_sent(self, room, wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.offer(wire, claim(job_id="job-2"))
        assert wire.types == ["accept", "completeJson", "accept"]


class TestABadClaim:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"task": None}, "task"),
            ({"modelSource": None}, "modelSource"),
            ({"task": {"kind": "IMAGE"}}, "task.kind"),
            ({"task": {"kind": "image", "prompt": "x", "width": 0}}, "task.width"),
            ({"model": ""}, "model"),
            ({"vramGbEstimate": -5}, "vramGbEstimate"),
        ],
    )
    async def test_is_accepted_and_failed_for_good_by_the_name_of_its_field(self, room, wire, claim, change, field):
        room.offer(wire, claim() | change)
        assert wire.types == ["accept", "fail"]
        assert wire.frames[1].error.startswith(f"{field}:")
        assert wire.frames[1].retryable is False

    @pytest.mark.parametrize("job_id", ["../../admin", "..", "a/b", "a\r\nb", "", "x" * 10_000, ".hidden"])
    async def test_with_a_bad_id_is_answered_under_that_id_and_touches_no_path(self, room, wire, claim, job_id):
        before = sorted(room.state_dir.rglob("*"))
        room.offer(wire, claim(job_id=job_id))
        assert wire.types == ["accept", "fail"]
        assert {frame.job_id for frame in wire.frames} == {job_id}
        assert wire.frames[1].error.startswith("jobId:")
        assert sorted(room.state_dir.rglob("*")) == before

    async def test_with_an_endless_id_is_skipped(self, room, wire, claim):
        room.offer(wire, claim(job_id="x" * 20_000))
        assert wire.types == []

    async def test_that_is_too_deep_to_have_a_fingerprint_is_refused_by_its_field(self, room, wire, claim):
        deep: dict = {}
        for _ in range(3_000):
            deep = {"a": deep}
        room.offer(wire, claim(task={"jsonSchema": deep}))
        assert wire.types == ["accept", "fail"]
        assert wire.frames[1].retryable is False

    async def test_for_an_engine_that_nobody_has_is_refused_and_never_run_by_another(self, room, wire, claim):
        room.offer(wire, claim(modelSource={"engine": "onnx", "files": [], "cliDefaults": {}}))
        assert wire.types == ["accept", "fail"]
        assert "onnx" in wire.frames[1].error
        assert wire.frames[1].retryable is False
        assert room.engine.runs == 0

    async def test_leaves_the_seat_free(self, room, wire, claim):
        room.offer(wire, claim(task={"maxTokens": -1}))
        room.offer(wire, claim(job_id="job-2"))
        await wire.until("completeJson", "job-2")


class TestAnOfferOfAJobThatRuns:
    async def test_is_adopted_and_not_run_again(self, room, wire, make_wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        await room.engine.started()
        wire.cut()
        second = make_wire()
        room.offer(second, claim(attempt=2))
        room.engine.gate.set()
        done = await second.until("completeJson")
        assert second.types == ["accept", "completeJson"]
        assert done.attempt == 2
        assert room.engine.runs == 1
        assert wire.types == ["accept"]

    async def test_twice_at_once_is_accepted_twice_and_run_once(self, room, wire, claim):
        room.offer(wire, claim())
        room.offer(wire, claim())
        await wire.until("completeJson")
        assert wire.types == ["accept", "accept", "completeJson"]
        assert room.engine.runs == 1

    @pytest.mark.parametrize("stop", ["close", "pause"])
    async def test_is_adopted_by_a_worker_that_takes_nothing_new(self, room, wire, make_wire, claim, stop):
        room.engine.gate.clear()
        room.offer(wire, claim())
        getattr(room.desk, stop)()
        second = make_wire()
        room.offer(second, claim())
        assert second.types == ["accept"]

    async def test_with_another_task_is_rejected_as_busy(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        room.offer(wire, claim(task={"maxTokens": 5}))
        assert wire.types == ["accept", "reject"]
        assert wire.frames[1].code == "busy"

    async def test_whose_picture_is_uploaded_carries_the_latest_attempt(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim("image", attempt=1))
        room.offer(wire, claim("image", attempt=2))
        room.engine.gate.set()
        assert (await room.uploads.started()).entry.attempt == 2

    async def test_but_failed_meanwhile_runs_anew(self, room, wire, claim):
        async def fail(job):
            raise RuntimeError("no luck")

        room.engine.behaviour = fail
        room.offer(wire, claim())
        await wire.until("fail")
        room.engine.behaviour = None
        await room.desk.drained()
        room.offer(wire, claim())
        await wire.until("completeJson")
        assert room.engine.runs == 2


class TestAnOfferOfAJobThatIsKept:
    async def test_is_answered_from_what_was_kept(self, room, wire, make_wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        second = make_wire()
        room.delivery.resume()
        room.offer(second, claim())
        assert second.types == ["accept", "completeJson"]
        assert room.engine.runs == 1

    async def test_runs_anew_once_it_was_acknowledged(self, room, wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.delivery.acknowledge("job-1")
        room.offer(wire, claim())
        await wire.until("completeJson", count=2)
        assert room.engine.runs == 2

    async def test_with_another_task_runs_anew(self, room, wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.offer(wire, claim(task={"maxTokens": 5}))
        await wire.until("completeJson", count=2)
        assert room.engine.runs == 2

    async def test_with_another_task_that_is_refused_leaves_the_old_result(self, room, wire, make_wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        gone = make_wire()
        gone.cut()
        room.offer(gone, claim(task={"maxTokens": 5}))
        room.offer(wire, claim(task={"maxTokens": -1}))
        assert wire.types[-2:] == ["accept", "fail"]
        room.desk.pause()
        room.offer(wire, claim(task={"maxTokens": 5}))
        assert wire.types[-1] == "reject"
        room.offer(wire, claim())
        assert wire.types[-2:] == ["accept", "completeJson"]
        assert room.engine.runs == 1

    async def test_with_another_task_that_is_taken_settles_the_old_result(self, room, wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.engine.gate.clear()
        room.offer(wire, claim(task={"maxTokens": 5}))
        assert (room.delivery.waiting, room.journal.owed) == (0, ("job-1",))
        await room.journal._batches.commit_all()
        stages = [stage for _, stage in rows(room.state_dir)]
        assert (len(stages), stages.count("dropped")) == (2, 1)

    async def test_is_answered_though_the_worker_is_busy(self, room, wire, claim):
        room.offer(wire, claim())
        await wire.until("completeJson")
        room.engine.gate.clear()
        room.offer(wire, claim(job_id="job-2"))
        room.offer(wire, claim())
        assert wire.of("completeJson", "job-1")[1:]

    async def test_while_its_upload_runs_is_accepted_and_not_run_again(self, room, wire, claim):
        room.uploads.gate.clear()
        room.offer(wire, claim("image"))
        await room.uploads.started()
        room.offer(wire, claim("image"))
        room.uploads.gate.set()
        await room.events.until(JobDelivered)
        assert wire.types == ["accept", "accept"]
        assert room.engine.runs == 1


class TestRoom:
    async def test_deliveries_that_wait_fill_up_to_two_more_than_the_slots(self, room, wire, claim):
        room.uploads.gate.clear()
        for number in range(3):
            room.offer(wire, claim("image", f"job-{number}"))
            await room.uploads.started(number + 1)
        room.offer(wire, claim("image", "job-3"))
        assert wire.types == ["accept", "accept", "accept", "reject"]
        assert wire.frames[-1].code == "busy"
        room.uploads.gate.set()
        await room.delivery.flushed()
        room.offer(wire, claim("image", "job-3"))
        await room.events.until(JobDelivered, 4)

    async def test_a_studio_without_capacity_gets_one_job_at_a_time(self, open_room, tmp_path, make_wire, claim):
        async with open_room(tmp_path, max_concurrent_jobs=3) as room:
            room.engine.gate.clear()
            plain, knowing = make_wire(), make_wire("capacity")
            room.offer(plain, claim(job_id="a"))
            room.offer(plain, claim(job_id="b"))
            assert plain.types == ["accept", "reject"]
            room.offer(knowing, claim(job_id="c"))
            room.offer(knowing, claim(job_id="d"))
            room.offer(knowing, claim(job_id="e"))
            assert knowing.types == ["accept", "accept", "reject"]

    async def test_the_current_job_runs_or_is_the_oldest_upload(self, room, wire, claim):
        assert room.desk.current_job_id is None
        room.uploads.gate.clear()
        room.offer(wire, claim("image", "first"))
        await room.uploads.started()
        assert room.desk.current_job_id == "first"
        room.engine.gate.clear()
        room.offer(wire, claim(job_id="second"))
        assert room.desk.current_job_id == "second"
        assert room.desk.current_job_ids == ("second", "first")

    async def test_a_snapshot_tells_what_runs(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        room.clock.advance(5)
        (job,) = room.desk.jobs()
        assert (job.job_id, job.model, job.engine, job.origin, job.seconds) == (
            "job-1",
            "gate-llm",
            "gate",
            "studio",
            5.0,
        )


class TestCancel:
    async def test_ends_a_running_job_with_its_reason_and_for_good(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        await room.engine.started()
        assert room.desk.cancel("job-1", "not wanted any more")
        failure = await wire.until("fail")
        assert failure.error == "cancelled: not wanted any more"
        assert failure.retryable is False
        await room.desk.drained()
        room.engine.gate.set()
        assert wire.types == ["accept", "fail"]

    async def test_ends_a_job_that_has_not_begun(self, room, wire, claim):
        room.offer(wire, claim())
        assert room.desk.cancel("job-1", "quick")
        await wire.until("fail")
        assert room.engine.runs == 0

    async def test_while_the_result_is_delivered_changes_nothing(self, room, wire, claim):
        room.uploads.gate.clear()
        room.offer(wire, claim("image"))
        await room.uploads.started()
        assert not room.desk.cancel("job-1", "too late")
        room.uploads.gate.set()
        await room.events.until(JobDelivered)
        assert not wire.of("fail")

    async def test_of_an_unknown_job_says_so(self, room):
        assert not room.desk.cancel("nobody", "whatever")

    async def test_twice_keeps_the_first_reason(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        await room.engine.started()
        room.desk.cancel("job-1", "first")
        room.desk.cancel("job-1", "second")
        assert (await wire.until("fail")).error == "cancelled: first"

    @pytest.mark.parametrize("kind", ["llm", "image"])
    async def test_racing_completion_gives_one_terminal_message(self, room, make_wire, claim, kind):
        for number in range(100):
            wire, job_id = make_wire(), f"job-{number}"
            delivered = len(room.events.of(JobDelivered))
            room.offer(wire, claim(kind, job_id))
            for _ in range(number % 25):
                await asyncio.sleep(0)
            room.desk.cancel(job_id, "raced")
            await room.desk.drained()
            await room.no_uploads()
            room.jobs.tell()
            ends = len(wire.of("completeJson")) + len(wire.of("fail"))
            if kind == "image":
                ends += len(room.events.of(JobDelivered)) - delivered
            assert ends == 1


class TestDraining:
    async def test_lets_what_runs_finish(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        await room.engine.started()
        room.desk.close()
        drained = asyncio.create_task(room.desk.drained())
        await asyncio.sleep(0)
        assert not drained.done()
        room.engine.gate.set()
        await drained
        assert wire.types == ["accept", "completeJson"]

    async def test_of_an_idle_worker_is_over_at_once(self, room):
        room.desk.close()
        async with asyncio.timeout(1):
            await room.desk.drained()
            await room.delivery.flushed()

    async def test_that_is_out_of_time_fails_its_jobs_for_another_worker(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        await room.engine.started()
        room.desk.abandon("the worker is stopping")
        await room.desk.drained()
        assert wire.frames[-1].error == "cancelled: the worker is stopping"
        assert wire.frames[-1].retryable is True

    async def test_a_thousand_pauses_change_nothing(self, room, wire, claim):
        for _ in range(1_000):
            room.desk.pause()
            room.desk.resume()
        room.offer(wire, claim())
        await wire.until("completeJson")


class TestALocalJob:
    async def test_gives_its_result_to_the_caller(self, room):
        link = LocalLink()
        room.desk.submit(order(), link)
        artifact = await link.result
        assert artifact.json["object"] == "chat.completion"
        room.jobs.tell()
        assert room.events.of(JobDelivered)[0].job_id == "local-1"
        assert room.events.of(JobAccepted)[0].origin == "local"

    async def test_gives_a_file_as_bytes_and_leaves_no_folder(self, room, make_picture):
        async def into_file(job):
            file = job.work_dir / "out.png"
            file.write_bytes(make_picture(job.task.width, job.task.height))
            return ImageResult(file, "png")

        room.engine.behaviour = into_file
        link = LocalLink()
        room.desk.submit(order(kind="image"), link)
        artifact = await link.result
        assert artifact.data.startswith(b"\x89PNG")
        assert not room.engine.jobs[0].work_dir.exists()

    async def test_waits_for_a_seat_in_turn(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        links = [LocalLink(), LocalLink()]
        for number, link in enumerate(links):
            room.desk.submit(order(f"local-{number}"), link)
        await room.engine.started()
        assert room.engine.runs == 1
        room.engine.gate.set()
        await asyncio.gather(*(link.result for link in links))
        assert [job.id for job in room.engine.jobs] == ["job-1", "local-0", "local-1"]

    async def test_takes_the_seat_from_a_studio(self, room, wire, claim):
        room.engine.gate.clear()
        room.desk.submit(order(), LocalLink())
        room.offer(wire, claim())
        assert wire.types == ["reject"]

    async def test_without_an_engine_is_refused_with_the_very_error(self, room):
        link = LocalLink()
        room.desk.submit(LocalOrder(job_id="x", model="unknown", task=order().task), link)
        with pytest.raises(JobError, match="unknown"):
            await link.result

    async def test_under_an_id_in_use_is_refused(self, room):
        room.engine.gate.clear()
        room.desk.submit(order(), LocalLink())
        link = LocalLink()
        room.desk.submit(order(), link)
        with pytest.raises(JobError, match="in use"):
            await link.result

    async def test_can_be_cancelled_while_it_waits(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        link = LocalLink()
        room.desk.submit(order(), link)
        assert room.desk.cancel("local-1", "changed my mind")
        with pytest.raises(JobCancelled, match="changed my mind"):
            await link.result

    async def test_can_be_cancelled_while_it_runs(self, room):
        room.engine.gate.clear()
        link = LocalLink()
        room.desk.submit(order(), link)
        await room.engine.started()
        assert room.desk.cancel("local-1", "enough")
        with pytest.raises(JobCancelled, match="enough"):
            await link.result

    async def test_that_waits_ends_with_the_drain(self, room, wire, claim):
        room.engine.gate.clear()
        room.offer(wire, claim())
        waiting, late = LocalLink(), LocalLink()
        room.desk.submit(order(), waiting)
        room.desk.close()
        room.desk.submit(order("late"), late)
        for link in (waiting, late):
            with pytest.raises(JobCancelled, match="stopping"):
                await link.result

    async def test_ends_with_the_worker(self, open_room, tmp_path):
        async with open_room(tmp_path) as room:
            room.engine.gate.clear()
            link = LocalLink()
            room.desk.submit(order(), link)
            await room.engine.started()
        with pytest.raises(JobCancelled, match="stopped"):
            await link.result

    async def test_is_no_current_job_of_the_studio(self, room):
        room.engine.gate.clear()
        room.desk.submit(order(), LocalLink())
        assert room.desk.current_job_id is None
        assert [job.origin for job in room.desk.jobs()] == ["local"]


async def test_the_answer_to_an_upload_before_the_latest_accept_says_nothing(room, wire, claim):
    room.uploads.gate.clear()
    room.uploads.answers = [Answer(status=409, reason="cancelled"), Answer(status=200)]
    room.offer(wire, claim("image", attempt=1))
    await room.uploads.started()
    room.offer(wire, claim("image", attempt=2))
    room.uploads.gate.set()
    await room.events.until(JobDelivered)
    assert [kept.entry.attempt for kept in room.uploads.seen] == [1, 2]
    assert not room.events.of(JobFailed)
