"""The scripted studio keeps the protocol, and breaks it where it is told to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from studio_worker.testing import answers
from studio_worker.testing.claims import CLAIM_BUILDERS, image_claim, llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.claims import parse_claim
from studio_worker.wire.frames import Hello
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.urls import StudioUrls


@pytest.fixture
async def studio() -> AsyncIterator[ScriptedStudio]:
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def connect(studio: ScriptedStudio, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    url = StudioUrls.parse(studio.url).connect("w-1")
    return await http.ws_connect(url, protocols=("studio-worker-v1",), headers=bearer(studio.token))


async def welcomed(studio: ScriptedStudio, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    socket = await connect(studio, http)
    await socket.send_str(Hello(auth_token=studio.token, capabilities=Capabilities()).text())
    assert (await socket.receive_json())["type"] == "welcome"
    return socket


@pytest.mark.parametrize("kind", TaskKind)
def test_every_builder_makes_a_claim_that_keeps_the_contract(kind: TaskKind) -> None:
    assert parse_claim(CLAIM_BUILDERS[kind]("job-7")).task.kind is kind


def test_a_builder_takes_fields_of_the_task_and_of_the_claim() -> None:
    claim = image_claim("j", seed=5, claim_fields={"attempt": 2, "engine": "sd-cpp"})

    assert claim["task"]["seed"] == 5
    assert claim["attempt"] == 2
    assert claim["modelSource"]["engine"] == "sd-cpp"


async def test_whoever_asks_is_admitted_with_a_token_that_rotates(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    urls = StudioUrls.parse(studio.url)
    body = {"installId": "x", "registrationSecretHash": hashlib.sha256(b"secret").hexdigest(), "capabilities": {}}
    async with http.post(urls.register_request, json=body) as response:
        request_id = (await response.json())["requestId"]
    answers_seen = []
    for _ in range(2):
        async with http.get(urls.poll(request_id), headers=bearer("secret")) as response:
            answers_seen.append(await response.json())

    assert [answer["status"] for answer in answers_seen] == ["approved", "approved"]
    assert answers_seen[0]["authToken"] != answers_seen[1]["authToken"]
    assert studio.token == answers_seen[1]["authToken"]


async def test_a_poll_with_the_wrong_secret_or_an_unknown_id_is_refused(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    urls = StudioUrls.parse(studio.url)
    await http.post(urls.register_request, json={"registrationSecretHash": "00"})

    assert (await http.get(urls.poll("rr-1"), headers=bearer("secret"))).status == 401
    assert (await http.get(urls.poll("rr-9"), headers=bearer("secret"))).status == 404


async def test_scripted_answers_come_in_order_and_then_the_studios_own_rule(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    studio.register_answers.once(500, (429, {}, {"Retry-After": "7"}), "<html>")
    url = StudioUrls.parse(studio.url).register_request
    statuses = [await http.post(url, json={}) for _ in range(4)]

    assert [response.status for response in statuses] == [500, 429, 200, 200]
    assert statuses[1].headers["Retry-After"] == "7"
    assert statuses[2].content_type == "text/html"
    assert (await statuses[3].json())["status"] == "pending"


async def test_an_offer_is_walked_to_its_completion(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    socket = await welcomed(studio, http)
    await studio.offer(llm_claim("job-1"))
    assert (await socket.receive_json())["claim"]["jobId"] == "job-1"
    await socket.send_json({"type": "accept", "jobId": "job-1"})
    await socket.send_json({"type": "completeJson", "jobId": "job-1", "result": {}})

    assert (await studio.frame("completeJson", job_id="job-1"))["result"] == {}
    assert await socket.receive_json() == {"type": "completeAck", "jobId": "job-1"}
    assert studio.violations == []


async def test_a_frame_about_a_job_that_is_not_held_ends_the_session_with_4002(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    socket = await welcomed(studio, http)
    await socket.send_json({"type": "completeJson", "jobId": "job-1", "result": {}})

    assert (await socket.receive_json())["code"] == "protocol_violation"
    assert (await socket.receive()).data == 4002
    assert studio.violations == ["completeJson for unknown jobId"]


async def test_a_heartbeat_before_hello_is_a_violation(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    socket = await connect(studio, http)
    await socket.send_json({"type": "heartbeat", "capabilities": {}})

    assert (await socket.receive_json())["code"] == "protocol_violation"


async def test_what_is_withheld_is_not_sent(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    socket = await welcomed(studio, http)
    studio.withhold = {"heartbeatAck"}
    await socket.send_json({"type": "heartbeat", "capabilities": {}})
    await studio.frame("heartbeat")
    await studio.session.send({"type": "marker"})

    assert (await socket.receive_json())["type"] == "marker"


async def test_the_older_session_of_a_worker_is_closed_with_4003(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    older = await welcomed(studio, http)
    await welcomed(studio, http)

    assert (await older.receive_json())["code"] == "duplicate_worker"
    assert (await older.receive()).data == 4003


async def test_an_upload_is_read_whole_and_taken_once(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    socket = await welcomed(studio, http)
    await studio.offer(image_claim("job-1"))
    await socket.send_json({"type": "accept", "jobId": "job-1"})
    await studio.frame("accept", job_id="job-1")
    url = StudioUrls.parse(studio.url).complete("w-1", "job-1")
    statuses = []
    for _ in range(2):
        form = aiohttp.FormData()
        form.add_field("prompt", "a clay cup")
        form.add_field("ext", "png")
        form.add_field("image", b"bytes", filename="job-1.png", content_type="image/png")
        async with http.post(url, data=form, headers=bearer(studio.token)) as response:
            statuses.append(response.status)

    seen = await studio.upload("job-1")
    assert (seen.data, seen.filename, seen.content_type) == (b"bytes", "job-1.png", "image/png")
    assert seen.parts == {"prompt": "a clay cup", "ext": "png"}
    assert statuses == [200, 409]


async def test_an_upload_of_a_job_that_was_never_offered_is_404(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    url = StudioUrls.parse(studio.url).complete("w-1", "job-1")
    form = aiohttp.FormData()
    form.add_field("image", b"x", filename="x")

    assert (await http.post(url, data=form)).status == 404


async def test_a_reset_answer_is_a_broken_connection(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    studio.register_answers.once(answers.reset)

    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(StudioUrls.parse(studio.url).register_request, json={})


async def test_an_aborted_session_ends_without_a_close_frame(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    socket = await welcomed(studio, http)
    studio.session.abort()

    assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    await studio.gone()


async def test_it_restarts_on_the_same_port(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    before = studio.url
    await studio.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.get(before)
    await studio.start()

    assert studio.url == before
    await welcomed(studio, http)


async def test_blobs_are_served_under_the_studios_own_origin(
    studio: ScriptedStudio, http: aiohttp.ClientSession
) -> None:
    studio.blobs["speech.wav"] = b"RIFF"

    async with http.get(studio.blob_url("speech.wav")) as response:
        assert await response.read() == b"RIFF"
    assert studio.requests[-1].path == "/blobs/speech.wav"


async def test_a_wait_in_vain_says_what_came_instead(studio: ScriptedStudio, http: aiohttp.ClientSession) -> None:
    await welcomed(studio, http)
    with pytest.raises(AssertionError, match=r"waited in vain for fail.*hello"):
        await asyncio.gather(studio.until(lambda: studio.of_type("fail"), what="fail", timeout_secs=0.01))
