"""A worker driven by hand, at a real studio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from studio_worker.studio.server import StudioServer
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job, registration
from studio_worker.wire.claims import parse_claim
from studio_worker.wire.registration import RegisterRequest
from studio_worker.wire.results import sniff_ext


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[StudioServer]:
    async with StudioServer(tmp_path, port=0) as studio:
        yield studio


@pytest.fixture
async def admin(studio: StudioServer) -> AsyncIterator[Admin]:
    async with aiohttp.ClientSession() as http:
        yield Admin(http, studio.url, studio.admin_token)


@pytest.fixture
async def worker(studio: StudioServer, admin: Admin) -> RawWorker:
    worker = await RawWorker.admitted(admin.http, studio.url, admin, machineName="attic")
    return await worker.connect()


def test_what_it_sends_keeps_the_contract() -> None:
    assert RegisterRequest.model_validate(registration()).capabilities.machine_name == "bench-1"
    assert sniff_ext(PNG) == "png"
    for job in (llm_job("j"), image_job("j")):
        assert parse_claim({**job, "jobId": "j"}).job_id == "j"


async def test_it_is_admitted_welcomed_and_shown(worker: RawWorker, admin: Admin) -> None:
    assert worker.welcome["workerId"] == worker.worker_id
    (known,) = await admin.get("/workers")
    assert known["workerId"] == worker.worker_id


async def test_a_job_is_followed_to_its_state_by_events(worker: RawWorker, admin: Admin) -> None:
    await admin.add(image_job("cup"))
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    assert (await admin.until("cup", "claimed"))["workerId"] == worker.worker_id
    assert (await worker.upload("cup"))[0] == 200
    assert (await admin.until("cup", "done"))["resultUrl"]


async def test_silence_is_shown_by_the_ack_of_a_heartbeat(worker: RawWorker, admin: Admin) -> None:
    await worker.nothing()
    await admin.add(llm_job("j"))
    assert (await worker.offer())["jobId"] == "j"
    await worker.nothing()


async def test_the_close_code_is_told_past_the_frames_before_it(worker: RawWorker, admin: Admin) -> None:
    await admin.add(llm_job("j"))
    await worker.send("accept", jobId="strange")
    assert await worker.closed() == 4002


async def test_another_token_is_not_let_in(worker: RawWorker) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await worker.open(token="wrong")
    assert caught.value.status in (401, 403)
    await worker.close()
