"""What workers' reports do to jobs: results, failures, cancels (protocol sections 3 and 5)."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from studio_worker.studio.timings import Timings
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


async def take(worker: RawWorker) -> dict[str, Any]:
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"], attempt=claim["attempt"])
    return claim


async def test_a_retryable_failure_is_tried_three_times(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    attempts = []
    for _ in range(3):
        attempts.append((await take(worker))["attempt"])
        await worker.send("fail", jobId="talk", error="out of memory", retryable=True)
        assert (await worker.receive())["type"] == "failAck"

    job = await admin.job("talk")

    assert attempts == [1, 2, 3]
    assert (job["state"], job["attempts"], job["error"]) == ("failed", 3, "out of memory")
    assert "finishedAt" in job


async def test_a_failure_between_tries_is_counted_and_shown(admin: Admin, make_worker: MakeWorker) -> None:
    worker = await (await make_worker()).connect()
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.beat(autoEnabled=False)
    await worker.send("fail", jobId="talk", error="out of memory", retryable=True)
    await worker.receive("failAck")

    job = await admin.job("talk")

    assert (job["state"], job["attempts"], job["error"]) == ("queued", 1, "out of memory")
    assert "workerId" not in job


async def test_a_failure_that_no_retry_cures_ends_the_job(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.send("fail", jobId="talk", error="no engine", retryable=False)
    await worker.receive("failAck")

    job = await admin.job("talk")

    assert (job["state"], job["attempts"], job["error"]) == ("failed", 1, "no engine")
    await worker.nothing()


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "accept", "jobId": "unknown"},
        {"type": "reject", "jobId": "unknown", "reason": "busy", "code": "busy"},
        {"type": "completeJson", "jobId": "unknown", "result": {}},
        {"type": "fail", "jobId": "unknown", "error": "x", "retryable": True},
    ],
    ids=lambda frame: frame["type"],
)
async def test_a_frame_about_a_job_that_is_not_held_ends_with_4002(worker: RawWorker, frame: dict[str, Any]) -> None:
    assert worker.socket
    await worker.socket.send_json(frame)

    said = await worker.receive("error")

    assert said["code"] == "protocol_violation"
    assert said["message"] == f"{frame['type']} for unknown jobId"
    assert await worker.closed() == 4002


@pytest.mark.parametrize("fields", [{}, {"attempt": 1}], ids=["as older workers", "with its attempt"])
async def test_an_accept_that_its_own_upload_overtook_is_late_and_no_breach(
    admin: Admin, worker: RawWorker, fields: dict[str, Any]
) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    assert (await worker.upload("fox"))[0] == 200
    await worker.send("accept", jobId="fox", **fields)

    await admin.add(llm_job("next"))
    assert (await worker.offer())["jobId"] == "next"

    await worker.send("accept", jobId="fox", **fields)
    assert (await worker.receive("error"))["message"] == "accept for unknown jobId"


async def test_an_accept_that_an_upload_of_a_cancelled_job_overtook_is_no_breach(
    admin: Admin, worker: RawWorker
) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await admin.call("POST", "/jobs/fox/cancel")
    assert (await worker.upload("fox"))[0] == 409
    await worker.send("accept", jobId="fox")

    await admin.add(llm_job("next"))
    while (await worker.receive())["type"] != "offer":
        pass


async def test_an_accept_of_another_attempt_than_the_overtaken_is_a_breach(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.upload("fox")
    await worker.send("accept", jobId="fox", attempt=7)
    assert (await worker.receive("error"))["code"] == "protocol_violation"


async def test_a_second_result_ends_with_4002_and_changes_nothing(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.send("completeJson", jobId="talk", result={"n": 1})
    await worker.send("completeJson", jobId="talk", result={"n": 2})

    assert (await worker.receive())["type"] == "completeAck"
    assert await worker.closed() == 4002
    assert (await admin.job("talk"))["result"] == {"n": 1}


async def test_a_result_of_another_attempt_ends_with_4002(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.send("fail", jobId="talk", error="x", retryable=True)
    await worker.receive("failAck")
    await take(worker)

    await worker.send("completeJson", jobId="talk", result={}, attempt=1)

    assert await worker.closed() == 4002
    assert (await admin.job("talk"))["state"] != "done"


async def test_a_result_that_echoes_its_attempt_is_taken(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.send("completeJson", jobId="talk", result={}, attempt=1)

    await worker.receive("completeAck")


async def test_a_null_result_is_a_result(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.send("completeJson", jobId="talk", result=None)
    await worker.receive("completeAck")

    assert (await admin.job("talk"))["result"] is None
    assert await admin.get("/jobs/talk/result") is None


async def test_json_for_a_binary_job_is_a_failure_and_ends_with_4002(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await take(worker)
    await worker.send("completeJson", jobId="fox", result={})

    assert await worker.closed() == 4002
    assert (await admin.job("fox"))["attempts"] == 1


async def test_a_second_accept_of_a_held_job_is_harmless(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await worker.send("accept", jobId="talk")

    await worker.nothing()


async def test_progress_is_shown_while_the_job_runs(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await take(worker)
    await worker.send(
        "progress", jobId="fox", step=3, total=20, stage="denoise", preview=base64.b64encode(PNG).decode()
    )
    await worker.nothing()

    job = await admin.job("fox")

    assert job["progress"] == {"step": 3, "total": 20, "stage": "denoise"}
    async with admin.http.get(job["previewUrl"], headers=admin.headers) as response:
        assert response.content_type == "image/png"
        assert await response.read() == PNG


@pytest.mark.parametrize("preview", ["!!!", base64.b64encode(b"<script>").decode()])
async def test_a_preview_that_is_no_picture_is_left_out(admin: Admin, worker: RawWorker, preview: str) -> None:
    await admin.add(image_job("fox"))
    await take(worker)
    await worker.send("progress", jobId="fox", step=1, total=2, stage="x", preview=preview)
    await worker.nothing()

    assert "previewUrl" not in await admin.job("fox")
    assert (await admin.call("GET", "/jobs/fox/preview"))[0] == 404


async def test_late_progress_is_no_breach(worker: RawWorker) -> None:
    await worker.send("progress", jobId="unknown", step=1, total=2, stage="x")

    await worker.nothing()


async def test_progress_is_gone_when_the_job_is_done(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await take(worker)
    await worker.send("progress", jobId="fox", step=1, total=2, stage="x")
    await worker.upload("fox")

    assert "progress" not in await admin.job("fox")


async def test_a_queued_job_is_cancelled_at_once(admin: Admin) -> None:
    await admin.add(llm_job("talk"))
    status, job = await admin.call("POST", "/jobs/talk/cancel", {"reason": "changed my mind"})

    assert (status, job["state"], job["error"]) == (200, "cancelled", "cancelled: changed my mind")


async def test_a_running_job_is_cancelled_over_the_session(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await admin.call("POST", "/jobs/talk/cancel", {"reason": "changed my mind"})

    assert await worker.receive("cancel") == {"type": "cancel", "jobId": "talk", "reason": "changed my mind"}
    await worker.send("fail", jobId="talk", error="cancelled: changed my mind", retryable=False)
    await worker.receive("failAck")
    job = await admin.job("talk")
    assert (job["state"], job["attempts"]) == ("cancelled", 0)


async def test_a_cancelled_claim_keeps_the_slot_until_the_worker_has_spoken(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await admin.add(llm_job("next"))
    await admin.call("POST", "/jobs/talk/cancel")
    await worker.receive("cancel")

    await worker.nothing()
    await worker.send("fail", jobId="talk", error="cancelled", retryable=False)

    await worker.receive("failAck")
    assert (await worker.offer())["jobId"] == "next"


async def test_a_result_that_crosses_the_cancel_is_acknowledged_and_dropped(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await take(worker)
    await admin.call("POST", "/jobs/talk/cancel")
    await worker.receive("cancel")
    await worker.send("completeJson", jobId="talk", result={})

    await worker.receive("completeAck")
    assert (await admin.job("talk"))["state"] == "cancelled"


async def test_an_older_worker_is_never_sent_a_cancel_frame(admin: Admin, make_worker: MakeWorker) -> None:
    worker = await (await make_worker()).connect(sources=None)
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await admin.call("POST", "/jobs/talk/cancel")

    await worker.beat(sources=None)

    assert (await worker.receive())["type"] == "heartbeatAck"


async def test_an_upload_of_a_cancelled_job_is_refused_and_frees_the_slot(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await take(worker)
    await admin.add(llm_job("next"))
    await admin.call("POST", "/jobs/fox/cancel")
    await worker.receive("cancel")

    status, said = await worker.upload("fox")

    assert (status, said["reason"]) == (409, "cancelled")
    assert (await worker.offer())["jobId"] == "next"


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
async def test_a_finished_job_cannot_be_cancelled_but_queued_again(admin: Admin, worker: RawWorker, state: str) -> None:
    await admin.add(llm_job("talk"))
    claim = await take(worker)
    if state == "done":
        await worker.send("completeJson", jobId="talk", result={})
    elif state == "failed":
        await worker.send("fail", jobId="talk", error="x", retryable=False)
    else:
        await admin.call("POST", "/jobs/talk/cancel")
        await worker.send("fail", jobId="talk", error="cancelled", retryable=False)
    await admin.until("talk", state)

    assert (await admin.call("POST", "/jobs/talk/cancel"))[0] == 409
    status, job = await admin.call("POST", "/jobs/talk/retry")

    assert (status, job["state"], job["attempts"]) == (200, "queued", 0)
    assert not {"error", "result", "finishedAt"} & set(job)
    while (frame := await worker.receive())["type"] != "offer":
        pass
    assert frame["claim"]["attempt"] > claim["attempt"]


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_job_that_is_not_finished_cannot_be_retried(
    admin: Admin, make_worker: MakeWorker, is_running: bool
) -> None:
    await admin.add(llm_job("talk"))
    if is_running:
        await take(await (await make_worker()).connect())

    assert (await admin.call("POST", "/jobs/talk/retry"))[0] == 409


class TestSilentWorker:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(sweep_secs=0.05, cancel_secs=0.2, close_secs=0.2, shutdown_secs=0.5)

    async def test_a_cancel_that_is_never_answered_frees_the_slot_in_the_end(
        self, admin: Admin, worker: RawWorker
    ) -> None:
        await admin.add(llm_job("talk"))
        await take(worker)
        await admin.add(llm_job("next"))
        await admin.call("POST", "/jobs/talk/cancel")
        await worker.receive("cancel")

        assert (await worker.offer())["jobId"] == "next"


async def test_many_jobs_through_one_socket_are_all_done(admin: Admin, make_worker: MakeWorker) -> None:
    worker = await (await make_worker()).connect(maxConcurrentJobs=4)
    await asyncio.gather(*(admin.add(llm_job(f"job-{number}")) for number in range(60)))
    done = 0
    while done < 60:
        frame = await worker.receive()
        if frame["type"] == "offer":
            await worker.send("accept", jobId=frame["claim"]["jobId"])
            await worker.send("completeJson", jobId=frame["claim"]["jobId"], result={})
        done += frame["type"] == "completeAck"

    assert {job["state"] for job in await admin.get("/jobs?limit=1000")} == {"done"}
