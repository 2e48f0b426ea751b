"""One worker's socket: the upgrade, hello, heartbeats, ends (protocol section 3)."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Timings
from studio_worker.testing.raw_worker import Admin, RawWorker, capabilities, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


async def test_the_subprotocol_is_echoed(worker: RawWorker) -> None:
    assert worker.socket
    assert worker.socket.protocol == "studio-worker-v1"


async def test_the_welcome_names_the_worker_the_time_and_the_extensions(worker: RawWorker) -> None:
    assert worker.welcome["workerId"] == worker.worker_id
    assert worker.welcome["serverTime"].endswith("Z")
    assert worker.welcome["extensions"] == ["progress", "cancel", "capacity", "health"]


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic abc", "Bearer "])
async def test_a_wrong_bearer_is_refused_before_the_upgrade(
    make_worker: MakeWorker, studio: StudioServer, header: str | None
) -> None:
    worker = await make_worker()

    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await worker.http.ws_connect(
            f"{worker.base}/workers/{worker.worker_id}/connect", headers={"Authorization": header} if header else {}
        )

    assert refusal.value.status == 401


async def test_a_token_in_the_query_is_no_token(make_worker: MakeWorker) -> None:
    worker = await make_worker()

    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await worker.http.ws_connect(f"{worker.base}/workers/{worker.worker_id}/connect?token={worker.token}")

    assert refusal.value.status == 401


async def test_another_workers_bearer_is_refused(make_worker: MakeWorker) -> None:
    one, other = await make_worker(), await make_worker()

    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await one.open(other.token)

    assert refusal.value.status == 401


async def test_a_hello_with_another_token_ends_with_4001(make_worker: MakeWorker) -> None:
    worker = await make_worker()
    await worker.open()
    await worker.send("hello", authToken="wrong", capabilities=capabilities())

    assert (await worker.receive("error"))["code"] == "auth_failed"
    assert await worker.closed() == 4001


@pytest.mark.parametrize("frame", ["heartbeat", "readyForMore", "unheard-of"])
async def test_a_frame_before_hello_ends_with_4002(make_worker: MakeWorker, frame: str) -> None:
    worker = await make_worker()
    await worker.open()
    await worker.send(frame, capabilities=capabilities())

    said = await worker.receive("error")
    assert said["code"] == "protocol_violation"
    assert "not authenticated" in said["message"]
    assert await worker.closed() == 4002


async def test_a_binary_frame_before_hello_ends_with_4002(make_worker: MakeWorker) -> None:
    worker = await make_worker()
    await worker.open()
    assert worker.socket
    await worker.socket.send_bytes(b"hello")

    assert await worker.closed() == 4002


async def test_a_hello_beyond_the_bound_ends_with_4002(make_worker: MakeWorker) -> None:
    worker = await make_worker()
    await worker.open()
    names = ["x" * 1_000] * 4_400
    await worker.send("hello", authToken=worker.token, capabilities=capabilities(supportedModels=names))

    said = await worker.receive("error")

    assert "4,194,304 bytes" in said["message"]
    assert await worker.closed() == 4002


async def test_a_heartbeat_beyond_the_bound_ends_with_4002(worker: RawWorker, admin: Admin) -> None:
    await worker.beat(supportedModels=["x" * 1_000] * 4_000)
    await worker.receive("heartbeatAck")
    await worker.beat(machineName="too-long", supportedModels=["x" * 1_000] * 4_400)

    assert "4,194,304 bytes" in (await worker.receive("error"))["message"]
    assert await worker.closed() == 4002
    assert (await admin.get(f"/workers/{worker.worker_id}"))["machineName"] == "bench-1"


async def test_a_second_hello_ends_with_4002(worker: RawWorker) -> None:
    await worker.send("hello", authToken=worker.token, capabilities=capabilities())

    assert await worker.closed() == 4002


async def test_every_heartbeat_is_acknowledged(worker: RawWorker) -> None:
    for _ in range(5):
        await worker.beat()
    for _ in range(5):
        assert (await worker.receive())["type"] == "heartbeatAck"


async def test_a_heartbeat_about_a_job_of_another_life_is_acknowledged(worker: RawWorker) -> None:
    await worker.send("heartbeat", capabilities=capabilities(), currentJobId="long-gone")

    assert (await worker.receive())["type"] == "heartbeatAck"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"type": 7}', '{"type": "dance"}', '{"type": "accept"}', "[" * 100_000]
)
async def test_what_cannot_be_read_is_skipped_and_the_session_goes_on(worker: RawWorker, text: str) -> None:
    assert worker.socket
    await worker.socket.send_str(text)

    await worker.nothing()


async def test_a_binary_frame_is_skipped_and_the_session_goes_on(worker: RawWorker) -> None:
    assert worker.socket
    await worker.socket.send_bytes(b"\0\1")

    await worker.nothing()


async def test_a_frame_over_16_mib_ends_the_session_with_1009(worker: RawWorker) -> None:
    assert worker.socket
    with contextlib.suppress(ConnectionError):
        await worker.socket.send_str(" " * (16 * 1024 * 1024 + 1))

    # 1006 is what the sender sees where the studio stopped reading before it had written everything.
    assert await worker.closed() in (1009, 1006)


async def test_ready_for_more_is_taken_without_a_word(worker: RawWorker) -> None:
    await worker.send("readyForMore")

    await worker.nothing()


async def test_the_same_worker_again_ends_the_older_socket_with_4003(worker: RawWorker, studio: StudioServer) -> None:
    newer = RawWorker(worker.http, studio.url, worker.worker_id, worker.token)
    await newer.connect()

    assert (await worker.receive("error"))["code"] == "duplicate_worker"
    assert await worker.closed() == 4003
    await newer.nothing()


async def test_the_claim_moves_once_to_the_newer_socket(worker: RawWorker, studio: StudioServer, admin: Admin) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")

    newer = await RawWorker(worker.http, studio.url, worker.worker_id, worker.token).connect()

    claim = await newer.offer()
    assert claim["jobId"] == "talk"
    assert await worker.closed() == 4003
    await newer.send("accept", jobId="talk")
    await newer.send("completeJson", jobId="talk", result={})
    await newer.receive("completeAck")
    job = await admin.job("talk")
    assert (job["state"], job["attempts"]) == ("done", 0)


async def test_a_deleted_worker_is_told_by_4004(worker: RawWorker, admin: Admin) -> None:
    await admin.call("DELETE", f"/workers/{worker.worker_id}")

    assert (await worker.receive("error"))["code"] == "worker_deleted"
    assert await worker.closed() == 4004
    assert await admin.get("/workers") == []


async def test_a_deleted_worker_that_comes_back_is_told_by_4004(make_worker: MakeWorker, admin: Admin) -> None:
    worker = await make_worker()
    await admin.call("DELETE", f"/workers/{worker.worker_id}")

    await worker.open()
    await worker.send("hello", authToken=worker.token, capabilities=capabilities())

    assert await worker.closed() == 4004


async def test_a_lost_session_puts_its_claims_back_without_counting(
    worker: RawWorker, make_worker: MakeWorker, admin: Admin
) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    other = await (await make_worker()).connect()

    await worker.close()

    claim = await other.offer()
    assert claim["jobId"] == "talk"
    assert (await admin.job("talk"))["attempts"] == 0


async def test_a_worker_that_is_gone_is_shown_offline(worker: RawWorker, admin: Admin) -> None:
    await worker.nothing()
    (shown,) = await admin.get("/workers")
    assert (shown["state"], shown["connected"]) == ("idle", True)

    async with admin.http.get(admin.base + "/events", headers=admin.headers) as stream:
        await stream.content.readline()
        await worker.close()
        async with asyncio.timeout(5):
            while b"event: worker" not in await stream.content.readline():
                pass

    (shown,) = await admin.get("/workers")
    assert (shown["state"], shown["connected"]) == ("offline", False)
    assert shown["lastHeartbeatAt"].endswith("Z")


async def test_capabilities_follow_the_heartbeats(worker: RawWorker, admin: Admin) -> None:
    await worker.beat(machineName="renamed", vramThresholdGb=6.0)
    await worker.receive("heartbeatAck")

    (shown,) = await admin.get("/workers")

    assert shown["machineName"] == "renamed"
    assert shown["capabilities"]["vramThresholdGb"] == 6.0


async def test_a_paused_worker_is_shown_as_paused(worker: RawWorker, admin: Admin) -> None:
    await worker.send("heartbeat", capabilities=capabilities(autoEnabled=False), health={"ready": False, "code": "hot"})
    assert (await worker.receive())["type"] == "heartbeatAck"

    shown = await admin.get(f"/workers/{worker.worker_id}")

    assert shown["state"] == "paused"
    assert shown["health"] == {"ready": False, "code": "hot"}


async def test_a_studio_that_stops_closes_sockets_with_1001(
    tmp_path: Path, http: aiohttp.ClientSession, timings: Timings
) -> None:
    async with StudioServer(tmp_path / "short", port=0, timings=timings) as studio:
        admin = Admin(http, studio.url, studio.admin_token)
        worker = await (await RawWorker.admitted(http, studio.url, admin)).connect()
        ending = asyncio.create_task(worker.closed())
        await worker.send("readyForMore")

    assert await ending == 1001


class TestSweep:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(
            sweep_secs=0.05, stale_secs=0.4, offer_secs=0.4, hello_secs=0.2, close_secs=0.2, shutdown_secs=0.5
        )

    async def test_a_socket_without_hello_is_closed(self, make_worker: MakeWorker) -> None:
        worker = await make_worker()
        await worker.open()

        assert await worker.closed() == 4002

    async def test_a_session_without_heartbeats_is_dropped_and_its_claim_released(
        self, worker: RawWorker, admin: Admin
    ) -> None:
        await admin.add(image_job("fox"))
        await worker.offer()
        await worker.send("accept", jobId="fox")

        assert await worker.closed() == 1011

        job = await admin.until("fox", "queued")
        assert job["attempts"] == 0

    async def test_a_session_with_heartbeats_stays(self, worker: RawWorker) -> None:
        for _ in range(8):
            await worker.nothing()
            await asyncio.sleep(0.1)  # the pace of the heartbeats is what is under test


class TestUnheldClaim:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(sweep_secs=0.1, close_secs=0.2, shutdown_secs=0.5)

    async def test_a_claim_that_no_connection_holds_is_released(
        self, admin: Admin, make_worker: MakeWorker, tmp_path: Path
    ) -> None:
        worker = await make_worker()
        await admin.add(llm_job("talk"))
        connection = sqlite3.connect(tmp_path / "data" / "studio.db")
        connection.execute("UPDATE jobs SET state = 'claimed', worker_id = ?", (worker.worker_id,))
        connection.commit()
        connection.close()

        assert (await admin.until("talk", "queued"))["attempts"] == 0

    async def test_a_claim_that_is_just_being_offered_is_not_released(
        self, admin: Admin, worker: RawWorker, studio: StudioServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert studio._parts
        store, was_swept = studio._parts.store, asyncio.Event()
        claim_next, claims = store.claim_next, store.claims

        async def slow_claim_next(wants: Any) -> Any:
            job = await claim_next(wants)
            if job is not None:
                await was_swept.wait()
            return job

        async def watched_claims() -> Any:
            found = await claims()
            if found:
                was_swept.set()
            return found

        monkeypatch.setattr(store, "claim_next", slow_claim_next)
        monkeypatch.setattr(store, "claims", watched_claims)
        await admin.add(llm_job("talk"))
        await worker.offer()

        assert was_swept.is_set()
        assert (await admin.job("talk"))["state"] == "claimed"


class TestUnansweredOffer:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(sweep_secs=0.05, offer_secs=0.3, close_secs=0.2, shutdown_secs=0.5)

    async def test_an_offer_that_nobody_answers_goes_to_another_worker(
        self, worker: RawWorker, make_worker: MakeWorker, admin: Admin
    ) -> None:
        await admin.add(image_job("fox"))
        await worker.offer()
        other = await (await make_worker()).connect()

        claim = await other.offer()

        assert claim["jobId"] == "fox"
        assert (await admin.job("fox"))["attempts"] == 0

    async def test_an_answer_after_the_release_ends_the_session(self, worker: RawWorker, admin: Admin) -> None:
        await admin.add(image_job("fox"))
        await worker.offer()
        await admin.until("fox", "queued")
        await worker.send("accept", jobId="fox")

        assert await worker.closed() == 4002

    async def test_an_accepted_job_is_not_released(self, worker: RawWorker, admin: Admin) -> None:
        await admin.add(image_job("fox"))
        await worker.offer()
        await worker.send("accept", jobId="fox")
        await asyncio.sleep(0.6)  # twice the time that an unanswered offer lives

        assert (await admin.job("fox"))["state"] == "claimed"


async def test_a_worker_that_is_busy_writing_hears_why_it_is_sent_away(worker: RawWorker, admin: Admin) -> None:
    assert worker.socket
    transport = worker.socket._response.connection.transport  # type: ignore[union-attr]
    assert transport
    transport.pause_reading()  # type: ignore[attr-defined]
    await admin.call("DELETE", f"/workers/{worker.worker_id}")
    for _ in range(20):
        await asyncio.sleep(0.005)
        await worker.beat()
    transport.resume_reading()  # type: ignore[attr-defined]
    assert await worker.closed() == 4004
