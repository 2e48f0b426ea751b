"""Claims that a worker's heartbeats do not name any more go back into the queue, and no others (section 7)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.studio import lost_claims
from studio_worker.studio.server import StudioServer
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, capabilities, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


@pytest.fixture
async def able(make_worker: MakeWorker) -> RawWorker:
    """A connected worker that knows the extension `capacity`."""
    return await (await make_worker()).connect(maxConcurrentJobs=1)


async def take(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("accept", jobId="fox")


async def beat(worker: RawWorker, *names: str, times: int = 1) -> None:
    """Heartbeats that name these jobs, without a look at the answers."""
    for _ in range(times):
        caps = capabilities(maxConcurrentJobs=1)
        await worker.send("heartbeat", capabilities=caps, currentJobIds=names)


async def acknowledged(worker: RawWorker, times: int) -> None:
    """The answers to so many heartbeats, and nothing else."""
    for _ in range(times):
        assert (await worker.receive())["type"] == "heartbeatAck"


async def test_a_claim_that_three_heartbeats_in_a_row_do_not_name_is_offered_again(
    admin: Admin, able: RawWorker
) -> None:
    await take(admin, able)
    await beat(able, "another", times=2)
    await acknowledged(able, 2)
    assert (await admin.job("fox"))["state"] == "claimed"

    await beat(able)

    claim = await able.offer()
    assert (claim["jobId"], claim["attempt"]) == ("fox", 1)
    assert (await admin.job("fox"))["attempts"] == 0
    await able.send("accept", jobId="fox")
    assert (await able.upload("fox"))[0] == 200


async def test_a_claim_that_is_named_at_times_stays(admin: Admin, able: RawWorker) -> None:
    await take(admin, able)
    for _ in range(3):
        await beat(able, times=2)
        await beat(able, "fox")
    await acknowledged(able, 9)

    assert (await able.upload("fox"))[0] == 200


async def test_a_claim_whose_progress_is_told_stays(admin: Admin, able: RawWorker) -> None:
    await take(admin, able)
    for _ in range(3):
        await beat(able, times=2)
        await able.send("progress", jobId="fox", step=1, total=4, stage="Painting")
    await acknowledged(able, 6)

    assert (await admin.job("fox"))["state"] == "claimed"


@pytest.mark.parametrize(
    ("caps", "names"),
    [({}, {}), ({}, {"currentJobIds": []}), ({"maxConcurrentJobs": 2}, {}), ({}, {"currentJobId": "another"})],
    ids=["older worker", "without the capability", "without names", "one name"],
)
async def test_a_worker_that_does_not_name_all_its_jobs_is_not_judged(
    admin: Admin, worker: RawWorker, caps: dict[str, Any], names: dict[str, Any]
) -> None:
    await take(admin, worker)
    for _ in range(6):
        await worker.send("heartbeat", capabilities=capabilities(**caps), **names)
    await acknowledged(worker, 6)

    assert (await admin.job("fox"))["state"] == "claimed"


async def test_a_claim_whose_upload_is_under_way_stays(admin: Admin, able: RawWorker, tmp_path: Path) -> None:
    await take(admin, able)
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + PNG
        await go_on.wait()
        yield b"\r\n--x--\r\n"

    async def upload() -> int:
        url = f"{able.base}/workers/{able.worker_id}/jobs/fox/complete"
        headers = {"Authorization": f"Bearer {able.token}", "Content-Type": "multipart/form-data; boundary=x"}
        async with able.http.post(url, data=body(), headers=headers) as response:
            return response.status

    uploading = asyncio.create_task(upload())
    async with asyncio.timeout(10):
        while not list((tmp_path / "data" / "blobs" / "incoming").iterdir()):
            await asyncio.sleep(0.01)
    await beat(able, times=6)
    await acknowledged(able, 6)
    assert (await admin.job("fox"))["state"] == "claimed"
    go_on.set()

    assert await uploading == 200


async def test_a_claim_that_is_settled_while_another_one_is_taken_back_is_left_alone(
    admin: Admin, make_worker: MakeWorker, studio: StudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await (await make_worker()).connect(maxConcurrentJobs=2)
    for name in ("fox", "owl"):
        await admin.add(image_job(name))
        await worker.offer()
        await worker.send("accept", jobId=name)
    assert studio._parts
    store, uploads = studio._parts.store, []
    release = store.release

    async def slow_release(worker_id: str, jobs: Any) -> Any:
        if not uploads:
            uploads.append(await worker.upload("owl"))
        return await release(worker_id, jobs)

    monkeypatch.setattr(store, "release", slow_release)
    await beat(worker, times=4)

    assert (await worker.offer())["jobId"] == "fox"
    assert [status for status, _ in uploads] == [200]
    assert (await admin.job("owl"))["state"] == "done"


async def test_an_offer_without_an_answer_is_none_that_was_lost(admin: Admin, able: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await able.offer()
    await beat(able, times=6)
    await acknowledged(able, 6)

    await able.send("accept", jobId="talk")
    await able.send("completeJson", jobId="talk", result={})
    await able.receive("completeAck")


async def test_a_cancelled_claim_waits_for_its_last_word(admin: Admin, able: RawWorker) -> None:
    await take(admin, able)
    await admin.call("POST", "/jobs/fox/cancel")
    await able.receive("cancel")
    await beat(able, times=6)
    await acknowledged(able, 6)

    await able.send("fail", jobId="fox", error="cancelled: by hand", retryable=False)
    await able.receive("failAck")


async def test_a_job_that_is_lost_each_time_fails_and_says_why(admin: Admin, able: RawWorker) -> None:
    await take(admin, able)
    for _ in range(2):
        await beat(able, times=3)
        await able.offer()
        await able.send("accept", jobId="fox")
    await beat(able, times=3)

    job = await admin.until("fox", "failed")

    assert "lost 3 times" in job["error"]
    await admin.add(llm_job("talk"))
    assert (await able.offer())["jobId"] == "talk"


async def test_the_losses_of_a_few_jobs_are_remembered(
    admin: Admin, able: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_claims, "MAX_REMEMBERED", 0)
    await take(admin, able)
    for _ in range(4):
        await beat(able, times=3)
        await able.offer()
        await able.send("accept", jobId="fox")

    assert (await able.upload("fox"))[0] == 200
