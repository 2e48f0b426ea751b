"""One connection at a scripted studio: its rules, and each way to break them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from studio_worker.testing.claims import image_claim, llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.urls import StudioUrls


@pytest.fixture
async def studio() -> AsyncIterator[ScriptedStudio]:
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
def connect(studio: ScriptedStudio, http: aiohttp.ClientSession) -> Any:
    async def connect(token: str | None = None) -> aiohttp.ClientWebSocketResponse:
        headers = {"Authorization": f"Bearer {token or studio.token}"}
        return await http.ws_connect(
            StudioUrls.parse(studio.url).connect("w-1"), protocols=("studio-worker-v1",), headers=headers
        )

    return connect


@pytest.fixture
async def socket(studio: ScriptedStudio, connect: Any) -> aiohttp.ClientWebSocketResponse:
    """A connection that has been welcomed."""
    socket = await connect()
    await say(socket, "hello", authToken=studio.token, capabilities={})
    assert (await heard(socket))["type"] == "welcome"
    return socket


async def say(socket: aiohttp.ClientWebSocketResponse, frame_type: str, **fields: Any) -> None:
    await socket.send_json({"type": frame_type, **fields})


async def heard(socket: aiohttp.ClientWebSocketResponse) -> Any:
    return await socket.receive_json(timeout=10)


async def test_the_welcome_names_worker_time_and_extensions(studio, connect) -> None:
    studio.extensions = ("capacity", "cancel")
    studio.server_time = "2026-01-01T00:00:00Z"
    socket = await connect()
    await say(socket, "hello", authToken=studio.token)
    assert await heard(socket) == {
        "type": "welcome",
        "workerId": "w-1",
        "serverTime": "2026-01-01T00:00:00Z",
        "extensions": ["capacity", "cancel"],
    }


async def test_a_hello_with_another_token_is_refused_with_4001(studio, connect) -> None:
    socket = await connect()
    await say(socket, "hello", authToken="wrong")
    assert (await heard(socket))["code"] == "auth_failed"
    assert (await socket.receive()).data == 4001
    assert not studio.session.welcomed


async def test_an_upgrade_with_another_token_is_refused_with_401_unless_tokens_are_not_looked_at(studio, connect):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect("wrong")
    assert caught.value.status == 401
    studio.check_token = False
    socket = await connect("wrong")
    await say(socket, "hello", authToken="wrong")
    assert (await heard(socket))["type"] == "welcome"


async def test_an_upgrade_is_answered_by_its_script(studio, connect) -> None:
    studio.upgrade_answers.once(503)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await connect()
    assert caught.value.status == 503
    assert (await connect()).protocol == "studio-worker-v1"


@pytest.mark.parametrize(("spoken", "expected"), [(None, None), ("other-v9", None)])
async def test_another_subprotocol_or_none_can_be_spoken(studio, http, spoken, expected) -> None:
    studio.subprotocol = spoken
    url = StudioUrls.parse(studio.url).connect("w-1")
    headers = {"Authorization": f"Bearer {studio.token}"}
    async with http.ws_connect(url, headers=headers, protocols=("studio-worker-v1",)) as socket:
        assert socket.protocol is expected
        assert socket._response.headers.get("Sec-WebSocket-Protocol") == spoken


async def test_a_welcome_may_be_withheld_and_said_later_with_other_fields(studio, connect) -> None:
    studio.withhold = {"welcome"}
    socket = await connect()
    await say(socket, "hello", authToken=studio.token)
    await studio.frame("hello")
    await studio.session.welcome(workerId="w-9")
    assert (await heard(socket))["workerId"] == "w-9"


async def test_each_welcome_is_told_to_the_script(studio, connect) -> None:
    async def greet(session: Any) -> None:
        await session.offer(llm_claim("at-once"))

    studio.on_welcome = greet
    socket = await connect()
    await say(socket, "hello", authToken=studio.token)
    assert [(await heard(socket))["type"] for _ in range(2)] == ["welcome", "offer"]


@pytest.mark.parametrize("frame_type", ["hello", "readyForMore"])
async def test_what_has_no_place_in_a_session_ends_it(studio, socket, frame_type) -> None:
    await say(socket, frame_type)
    assert (await heard(socket))["code"] == "protocol_violation"
    assert studio.violations == [f"{frame_type} in mid session"]


@pytest.mark.parametrize("frame_type", ["accept", "reject", "completeJson", "fail", "progress"])
async def test_a_frame_about_a_strange_job_is_a_violation(studio, socket, frame_type) -> None:
    await say(socket, frame_type, jobId="strange")
    await heard(socket)
    assert studio.violations == [f"{frame_type} for unknown jobId"]


async def test_a_studio_that_is_not_strict_only_lists_violations(studio, socket) -> None:
    studio.strict = False
    await say(socket, "accept", jobId="strange")
    await say(socket, "heartbeat", capabilities={})
    assert (await heard(socket))["type"] == "heartbeatAck"
    assert studio.violations == ["accept for unknown jobId"]


async def test_a_binary_frame_is_a_violation(studio, socket) -> None:
    await socket.send_bytes(b"x")
    await heard(socket)
    assert studio.violations == ["unexpected BINARY frame"]


async def test_a_failed_job_is_acknowledged_and_may_be_offered_again(studio, socket) -> None:
    for _ in range(2):
        await studio.offer(llm_claim("j"))
        await heard(socket)
        await say(socket, "accept", jobId="j")
        await say(socket, "progress", jobId="j", step=1, total=2)
        await say(socket, "fail", jobId="j", error="x", retryable=True)
        assert await heard(socket) == {"type": "failAck", "jobId": "j"}
    assert (studio.session.held, studio.session.offered, studio.violations) == (set(), set(), [])
    assert studio.done == set()


async def test_a_rejected_offer_is_not_held(studio, socket) -> None:
    await studio.offer(llm_claim("j"))
    await say(socket, "reject", jobId="j", reason="busy", code="busy")
    await studio.frame("reject", job_id="j")
    assert (studio.session.offered, studio.session.held) == (set(), set())


async def test_the_script_sees_each_frame_first_and_may_deal_with_it(studio, socket) -> None:
    async def see(session: Any, frame: Any) -> bool:
        if frame.type == "heartbeat":
            await session.send({"type": "odd"})
            return True
        return False

    studio.on_frame = see
    await say(socket, "heartbeat")
    assert await heard(socket) == {"type": "odd"}


@pytest.mark.parametrize(
    ("code", "closes"),
    [("auth_failed", 4001), ("protocol_violation", 4002), ("duplicate_worker", 4003), ("worker_deleted", 4004)],
)
async def test_a_refusal_closes_with_the_code_of_its_pair(studio, socket, code, closes) -> None:
    refusing = asyncio.create_task(studio.session.refuse(code, "because"))
    assert await heard(socket) == {"type": "error", "code": code, "message": "because"}
    assert (await socket.receive()).data == closes
    await refusing
    await studio.gone()
    await studio.session.refuse(code)


async def test_a_refusal_reaches_a_worker_that_is_busy_writing(studio, socket) -> None:
    transport = socket._response.connection.transport
    transport.pause_reading()
    refusing = asyncio.create_task(studio.session.refuse("worker_deleted"))
    while not studio.session.socket.closed:
        await asyncio.sleep(0)
    # The handler of the connection wakes up; were it to end now, these writes would find the socket closed.
    for _ in range(20):
        await asyncio.sleep(0.005)
        await say(socket, "heartbeat")
    transport.resume_reading()
    assert (await heard(socket))["code"] == "worker_deleted"
    assert (await socket.receive()).data == 4004
    await refusing


async def test_any_text_bytes_and_raw_bytes_can_be_sent(studio, socket) -> None:
    await studio.session.send_text("{")
    await studio.session.send_bytes(b"\x00")
    await studio.session.send_raw(b"\x81\x02hi")
    texts = [await socket.receive() for _ in range(3)]
    assert [message.data for message in texts] == ["{", b"\x00", "hi"]


async def test_a_cancellation_is_sent_with_its_reason(studio, socket) -> None:
    await studio.session.cancel("j", "enough")
    assert await heard(socket) == {"type": "cancel", "jobId": "j", "reason": "enough"}


async def test_the_close_code_of_the_worker_is_kept(studio, socket) -> None:
    await socket.close(code=1000)
    assert (await studio.gone()).close_code == 1000


async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(studio, socket) -> None:
    closing = asyncio.create_task(studio.session.close(4000, "x" * 500))
    message = await socket.receive()
    assert (message.data, len(message.extra)) == (4000, 120)
    await closing


async def test_a_session_that_reads_nothing_leaves_frames_unseen(studio, socket) -> None:
    studio.session.stop_reading()
    await say(socket, "heartbeat")
    with pytest.raises(AssertionError, match="waited in vain"):
        await studio.until(lambda: studio.of_type("heartbeat"), timeout_secs=0.05)


async def test_a_claim_that_was_forgotten_makes_its_upload_unknown(studio, socket, http) -> None:
    async def upload() -> int:
        form = aiohttp.FormData()
        form.add_field("image", b"x", filename="x")
        async with http.post(StudioUrls.parse(studio.url).complete("w-1", "j"), data=form) as response:
            return response.status

    await studio.offer(image_claim("j"))
    await say(socket, "accept", jobId="j")
    await studio.frame("accept")
    studio.drop_claims()
    assert await upload() == 404
    studio.claimed("j", "w-2")
    assert await upload() == 409
    studio.claimed("j", "w-1")
    studio.upload_answers.once(503)
    assert [await upload() for _ in range(3)] == [503, 200, 409]
    assert [seen.status for seen in studio.uploads] == [404, 409, 503, 200, 409]


@pytest.mark.parametrize(("decision", "status"), [("pending", "pending"), ("rejected", "rejected")])
async def test_a_registration_is_decided_as_the_script_says(studio, http, decision, status) -> None:
    studio.decision = decision
    urls = StudioUrls.parse(studio.url)
    await http.post(urls.register_request, json={"registrationSecretHash": _hash("s")})
    async with http.get(urls.poll("rr-1"), headers={"Authorization": "Bearer s"}) as response:
        answer = await response.json()
    assert answer == ({"status": status} | ({"reason": "not one of ours"} if decision == "rejected" else {}))


def _hash(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


async def test_a_studio_may_live_below_an_outer_path(http) -> None:
    async with ScriptedStudio(mount="/outer/") as studio:
        assert studio.url.endswith("/outer/")
        async with http.post(StudioUrls.parse(studio.url).register_request, json={}) as response:
            assert (await response.json())["requestId"] == "rr-1"
        assert studio.requests[0].path == "/outer/graphics/api/workers/register-request"
