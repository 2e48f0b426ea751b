"""Which job goes to which worker (protocol section 3)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from studio_worker.studio.offers import Offers
from studio_worker.studio.server import StudioServer
from studio_worker.testing.raw_worker import Admin, RawWorker, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


@pytest.fixture
def offers(studio: StudioServer) -> Offers:
    """The studio's own."""
    assert studio._parts
    return studio._parts.offers


async def test_the_claim_is_what_was_asked_for(admin: Admin, worker: RawWorker) -> None:
    job = image_job("fox", vramGbEstimate=3.5)
    await admin.add(job)

    claim = await worker.offer()

    assert claim == {
        "jobId": "fox",
        "gameId": "",
        "assetName": "",
        "model": "painter",
        "vramGbEstimate": 3.5,
        "task": job["task"],
        "modelSource": job["modelSource"],
        "attempt": 1,
    }


async def test_the_oldest_queued_job_goes_first(admin: Admin, make_worker: MakeWorker) -> None:
    for job_id in ("one", "two", "three"):
        await admin.add(llm_job(job_id))
    worker = await (await make_worker()).connect()

    order = []
    for _ in range(3):
        claim = await worker.offer()
        order.append(claim["jobId"])
        await worker.send("accept", jobId=claim["jobId"])
        await worker.send("completeJson", jobId=claim["jobId"], result={})
        await worker.receive("completeAck")

    assert order == ["one", "two", "three"]


async def test_one_offer_is_in_flight_at_a_time(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("one"))
    await admin.add(llm_job("two"))

    assert (await worker.offer())["jobId"] == "one"
    await worker.nothing()
    await worker.send("accept", jobId="one")
    await worker.nothing()


async def test_a_worker_with_capacity_gets_as_many_as_it_says(admin: Admin, make_worker: MakeWorker) -> None:
    for job_id in ("one", "two", "three"):
        await admin.add(llm_job(job_id))
    worker = await (await make_worker()).connect(maxConcurrentJobs=2)

    assert [(await worker.offer())["jobId"], (await worker.offer())["jobId"]] == ["one", "two"]
    await worker.beat(maxConcurrentJobs=2)
    assert (await worker.receive())["type"] == "heartbeatAck"


@pytest.mark.parametrize(
    "caps",
    [
        {"taskKinds": ["image"]},
        {"sources": {"llm": ["llama-cpp"], "image": ["synthetic"]}},
        {"sources": {}},
        {"vramThresholdGb": 3.9},
        {"autoEnabled": False},
    ],
    ids=["another kind", "another source", "no source", "too little memory", "paused"],
)
async def test_a_job_is_not_offered_to_a_worker_that_cannot_take_it(
    admin: Admin, make_worker: MakeWorker, caps: dict[str, Any]
) -> None:
    await admin.add(llm_job("talk", vramGbEstimate=4.0))
    worker = await (await make_worker()).connect(**caps)

    await worker.beat(**caps)

    assert (await worker.receive())["type"] == "heartbeatAck"
    assert (await admin.job("talk"))["state"] == "queued"


async def test_a_job_that_just_fits_is_offered(admin: Admin, make_worker: MakeWorker) -> None:
    await admin.add(llm_job("talk", vramGbEstimate=4.0))
    worker = await (await make_worker()).connect(vramThresholdGb=4.0)

    assert (await worker.offer())["jobId"] == "talk"


async def test_a_worker_that_does_not_say_its_sources_is_picked_by_kind(admin: Admin, make_worker: MakeWorker) -> None:
    await admin.add(llm_job("talk", modelSource={"engine": "llama-cpp", "files": []}))
    worker = await (await make_worker()).connect(sources=None)

    assert (await worker.offer())["jobId"] == "talk"


async def test_a_job_that_nobody_serves_does_not_stand_in_the_way(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("strange", modelSource={"engine": "abacus", "files": []}))
    await admin.add(llm_job("talk"))

    assert (await worker.offer())["jobId"] == "talk"


async def test_the_earliest_connected_worker_is_asked_first(admin: Admin, make_worker: MakeWorker) -> None:
    first = await (await make_worker()).connect()
    second = await (await make_worker()).connect()
    await admin.add(llm_job("talk"))

    assert (await first.offer())["jobId"] == "talk"
    await second.nothing()


async def test_a_resumed_worker_is_offered_what_waits(admin: Admin, make_worker: MakeWorker) -> None:
    await admin.add(llm_job("talk"))
    worker = await (await make_worker()).connect(autoEnabled=False)

    await worker.beat(autoEnabled=True)

    assert (await worker.receive("offer"))["claim"]["jobId"] == "talk"


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "busy", "reason": "x"},
        {"code": "paused", "reason": "x"},
        {"reason": "worker already has an in-flight job"},
        {"reason": "worker paused by operator"},
        {"reason": "engine already busy"},
    ],
)
async def test_a_transient_rejection_counts_nothing_and_waits_for_the_heartbeat(
    admin: Admin, worker: RawWorker, fields: dict[str, str]
) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()

    await worker.send("reject", jobId="talk", **fields)
    job = await admin.until("talk", "queued")

    assert job["attempts"] == 0
    await worker.beat()
    assert (await worker.receive())["type"] == "heartbeatAck", "no offer came before the heartbeat"
    assert (await worker.offer())["jobId"] == "talk"


async def test_a_transient_rejection_leaves_the_job_to_others(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    other = await (await make_worker()).connect()
    await admin.add(llm_job("talk"))
    await worker.offer()

    await worker.send("reject", jobId="talk", code="busy", reason="x")

    assert (await other.offer())["jobId"] == "talk"


async def test_a_firm_rejection_goes_to_another_worker(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    other = await (await make_worker()).connect()
    await admin.add(llm_job("talk"))
    await worker.offer()

    await worker.send("reject", jobId="talk", reason="model not available")

    assert (await other.offer())["attempt"] == 2
    await worker.nothing()


async def test_firm_rejections_of_the_only_worker_end_the_job_without_a_hot_loop(
    admin: Admin, worker: RawWorker
) -> None:
    await admin.add(llm_job("talk"))
    for _ in range(3):
        await worker.offer()
        await worker.send("reject", jobId="talk", reason="model not available")
        await worker.beat()
        assert (await worker.receive())["type"] == "heartbeatAck", "no offer came before the heartbeat"

    job = await admin.until("talk", "failed")

    assert job["attempts"] == 3
    assert job["error"] == "rejected: model not available"


async def test_a_rejection_after_the_acceptance_ends_with_4002(admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.send("reject", jobId="talk", code="busy", reason="x")

    assert await worker.closed() == 4002


async def test_jobs_spread_over_workers(admin: Admin, make_worker: MakeWorker) -> None:
    workers = [await (await make_worker()).connect() for _ in range(3)]
    for number in range(3):
        await admin.add(llm_job(f"job-{number}"))

    assert {(await worker.offer())["jobId"] for worker in workers} == {"job-0", "job-1", "job-2"}


async def test_a_worker_that_pauses_while_a_job_is_claimed_for_it_is_not_offered_it(
    admin: Admin, worker: RawWorker, offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_next, has_paused = offers._store.claim_next, asyncio.Event()

    async def pausing(wants: Any) -> Any:
        job = await claim_next(wants)
        if job is not None:
            await worker.beat(autoEnabled=False)
            assert (await worker.receive())["type"] == "heartbeatAck"
            has_paused.set()
        return job

    monkeypatch.setattr(offers._store, "claim_next", pausing)
    await admin.add(llm_job("talk"))
    await has_paused.wait()

    assert (await admin.until("talk", "queued"))["attempts"] == 0
    await worker.beat(autoEnabled=False)
    assert (await worker.receive())["type"] == "heartbeatAck"


async def test_a_job_whose_worker_leaves_while_its_claim_is_made_goes_back_into_the_queue(
    admin: Admin, worker: RawWorker, offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, has_left = offers._claim, asyncio.Event()

    async def leaving(job: Any, peer: Any) -> Any:
        await worker.close()
        while not peer.is_gone:
            await asyncio.sleep(0)
        has_left.set()
        return await claim(job, peer)

    monkeypatch.setattr(offers, "_claim", leaving)
    await admin.add(llm_job("talk"))
    await has_left.wait()

    assert (await admin.until("talk", "queued"))["attempts"] == 0


async def test_a_job_whose_claim_cannot_be_made_goes_back_into_the_queue_and_is_tried_again(
    admin: Admin, worker: RawWorker, offers: Offers, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, failures = offers._claim, [ZeroDivisionError("a flaw")]

    async def failing_once(job: Any, peer: Any) -> Any:
        if failures:
            raise failures.pop()
        return await claim(job, peer)

    monkeypatch.setattr(offers, "_claim", failing_once)
    await admin.add(llm_job("talk"))

    assert (await worker.offer())["attempt"] == 1
    assert failures == []
