"""``result:<id>``: one job's result as another one's input."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from studio_worker.studio.timings import Timings
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


def speech(job_id: str) -> dict[str, Any]:
    return {**image_job(job_id), "task": {"kind": "audio_tts", "text": "Good evening"}}


def transcript(job_id: str, needed: str) -> dict[str, Any]:
    return {**image_job(job_id), "task": {"kind": "audio_stt", "inputUrl": f"result:{needed}"}}


async def finish(worker: RawWorker, data: bytes = PNG) -> str:
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    assert (await worker.upload(claim["jobId"], data))[0] == 200
    return str(claim["jobId"])


async def test_a_job_waits_for_the_result_that_it_needs(admin: Admin, worker: RawWorker) -> None:
    await admin.add(speech("say"))
    await worker.offer()
    await admin.add(transcript("hear", "say"))
    await admin.add(llm_job("other"))
    await worker.send("accept", jobId="say")
    await worker.send("fail", jobId="say", error="x", retryable=True)
    await worker.receive("failAck")

    assert await finish(worker) == "say"
    assert (await worker.offer())["jobId"] == "hear"


async def test_the_claim_carries_a_link_that_gives_the_bytes_without_a_token(admin: Admin, worker: RawWorker) -> None:
    await admin.add(speech("say"))
    await admin.add(transcript("hear", "say"))
    await finish(worker)
    claim = await worker.offer()

    link = claim["task"]["inputUrl"]

    assert link.startswith(admin.base + "/jobs/say/result?")
    async with admin.http.get(link) as response:
        assert await response.read() == PNG
    assert (await admin.job("hear"))["task"]["inputUrl"] == "result:say"


@pytest.mark.parametrize("change", ["signature", "until", "job", "none"])
async def test_a_link_that_was_changed_opens_nothing(admin: Admin, worker: RawWorker, change: str) -> None:
    await admin.add(speech("say"))
    await admin.add(speech("secret"))
    await admin.add(transcript("hear", "say"))
    await finish(worker)
    await finish(worker)
    link = (await worker.offer())["task"]["inputUrl"]
    if change == "signature":
        link = link[:-1] + ("0" if link[-1] != "0" else "1")
    elif change == "until":
        link = link.replace("until=", "until=9")
    elif change == "job":
        link = link.replace("/jobs/say/", "/jobs/secret/")
    else:
        link = link.split("?")[0]

    async with admin.http.get(link) as response:
        assert response.status == 401


async def test_a_job_offered_again_carries_the_same_links(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    await admin.add(speech("say"))
    await admin.add(transcript("hear", "say"))
    await finish(worker)
    first = await worker.offer()
    other = await (await make_worker()).connect()
    await asyncio.sleep(1.1)  # links carry whole seconds, so that a fresh one would differ
    await worker.close()

    second = await other.offer()

    assert second["task"] == first["task"]


async def test_all_four_url_fields_are_resolved(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("base"))
    task = {
        "kind": "image",
        "prompt": "x",
        "initImageUrl": "result:base",
        "maskUrl": "result:base",
        "refImageUrl": "result:base",
    }
    await admin.add(image_job("edit", task=task))
    await finish(worker)

    claim = await worker.offer()

    for field in ("initImageUrl", "maskUrl", "refImageUrl"):
        assert urlsplit(claim["task"][field]).path.endswith("/jobs/base/result")


@pytest.mark.parametrize("end", ["failed", "was cancelled"])
async def test_a_job_whose_needed_result_will_not_come_fails_saying_so(
    admin: Admin, worker: RawWorker, end: str
) -> None:
    await admin.add(speech("say"))
    await worker.offer()
    await worker.send("accept", jobId="say")
    await admin.add(transcript("hear", "say"))
    if end == "failed":
        await worker.send("fail", jobId="say", error="x", retryable=False)
    else:
        await admin.call("POST", "/jobs/say/cancel")

    job = await admin.until("hear", "failed")

    assert job["error"] == f"needs the result of say, which {end}"


async def test_a_retry_of_a_job_whose_needed_one_failed_fails_again(admin: Admin) -> None:
    await admin.add(speech("say"))
    await admin.add(transcript("hear", "say"))
    await admin.call("POST", "/jobs/say/cancel")

    status, job = await admin.call("POST", "/jobs/hear/retry")

    assert (status, job["state"]) == (200, "failed")
    assert "which was cancelled" in job["error"]


async def test_after_a_retry_of_both_the_chain_goes_on(admin: Admin, make_worker: MakeWorker) -> None:
    await admin.add(speech("say"))
    await admin.add(transcript("hear", "say"))
    await admin.call("POST", "/jobs/say/cancel")
    await admin.call("POST", "/jobs/say/retry")
    await admin.call("POST", "/jobs/hear/retry")
    worker = await (await make_worker()).connect()

    assert await finish(worker) == "say"
    assert (await worker.offer())["jobId"] == "hear"


@pytest.mark.parametrize("needed", ["unknown", "../x", "", "hear"])
async def test_a_needed_job_has_to_be_there(admin: Admin, needed: str) -> None:
    status, said = await admin.call("POST", "/jobs", transcript("hear", needed))

    assert (status, said["field"]) == (400, "task.inputUrl")
    assert "there is no job" in said["error"]


async def test_a_needed_job_has_to_make_bytes(admin: Admin) -> None:
    await admin.add(llm_job("talk"))

    status, said = await admin.call("POST", "/jobs", transcript("hear", "talk"))

    assert (status, said["field"]) == (400, "task.inputUrl")


async def test_a_needed_job_must_not_have_failed(admin: Admin) -> None:
    await admin.add(speech("say"))
    await admin.call("POST", "/jobs/say/cancel")

    status, said = await admin.call("POST", "/jobs", transcript("hear", "say"))

    assert (status, said["field"]) == (400, "task.inputUrl")


class TestExpiry:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(link_secs=1, close_secs=0.3, shutdown_secs=0.5)

    async def test_a_link_expires(self, admin: Admin, worker: RawWorker, http: aiohttp.ClientSession) -> None:
        await admin.add(speech("say"))
        await admin.add(transcript("hear", "say"))
        await finish(worker)
        link = (await worker.offer())["task"]["inputUrl"]

        async with asyncio.timeout(5):
            while True:
                async with http.get(link) as response:
                    if response.status == 401:
                        break
                await asyncio.sleep(0.05)
