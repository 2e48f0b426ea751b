"""A worker that asks its studio through the HTTP session of its embedder."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from studio_worker import AuthFailed, JobFailed, SessionLost, Worker
from studio_worker.session.timings import Timings
from studio_worker.testing.claims import image_claim, llm_claim, stt_claim
from studio_worker.testing.scripted_studio import ScriptedStudio

NAME = "studio.example"


class Loopback(AbstractResolver):
    """Knows one name that no machine knows, and notes who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        where = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [{**where, "family": socket.AF_INET, "proto": 0, "flags": socket.AI_NUMERICHOST}]

    async def close(self) -> None:
        pass


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
def named(studio):
    """The studio's address by a name that only the embedder's session can look up."""
    return f"http://{NAME}:{studio.port}/"


async def test_registration_socket_and_uploads_go_through_the_embedders_session(settings, studio, named, soon):
    seen: list[tuple[str, str]] = []
    trace = aiohttp.TraceConfig()

    async def note(session, context, params) -> None:
        seen.append((params.method, params.url.path.rpartition("/workers/")[2]))

    trace.on_request_start.append(note)
    resolver = Loopback()
    headers = {"X-Embedder": "ours"}
    connector = aiohttp.TCPConnector(resolver=resolver)
    async with aiohttp.ClientSession(connector=connector, headers=headers, trace_configs=[trace]) as http:
        async with Worker(settings(api_base_url=named), http=http):
            await studio.offer(image_claim("picture"))
            await soon(studio.upload("picture"))
        assert not http.closed
        async with http.get(studio.url) as answer:
            assert answer.status == 404
    assert seen[:4] == [
        ("POST", "register-request"),
        ("GET", "register-requests/rr-1"),
        ("GET", "w-1/connect"),
        ("POST", "w-1/jobs/picture/complete"),
    ]
    assert set(resolver.asked) == {NAME}
    assert [request.headers["X-Embedder"] for request in studio.requests if "workers" in request.path] == ["ours"] * 4


async def test_addresses_that_a_job_names_are_asked_by_the_guarded_client(settings, studio, named, soon):
    connector = aiohttp.TCPConnector(resolver=(resolver := Loopback()))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        Worker(settings(api_base_url=named), http=http) as worker,
    ):
        events = worker.events()
        await studio.offer(stt_claim("heard", inputUrl="https://inputs.example/sound.wav"))
        failed = await soon(anext(event async for event in events if isinstance(event, JobFailed)))
    assert "inputs.example" in failed.error
    assert "inputs.example" not in resolver.asked


async def test_many_workers_share_one_session(settings, studio, named, soon):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Loopback())) as http:
        one, two = (Worker(settings(state, api_base_url=named), http=http) for state in ("one", "two"))
        async with one:
            await soon(studio.welcomed())
            async with two:
                pass
            assert not http.closed
            await soon(studio.heartbeat())


async def test_the_answers_of_a_studio_mean_the_same_to_a_session_that_raises_for_them(settings, studio, soon):
    studio.register_answers.once(500)
    studio.upload_answers.once(503)
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with Worker(settings(api_base_url=studio.url), http=http):
            await studio.offer(image_claim("picture"))
            await soon(studio.upload("picture", nth=2))
        studio.upgrade_answers.always = 401
        with pytest.raises(AuthFailed):
            async with Worker(settings(api_base_url=studio.url), http=http, timings=Timings()) as refused:
                await soon(refused.run())


async def test_a_redirected_upgrade_gets_no_word_of_the_worker(settings, studio, soon):
    async with ScriptedStudio() as elsewhere:
        elsewhere.check_token = False
        where = f"{elsewhere.url}graphics/api/workers/w-1/connect"
        studio.upgrade_answers.once((307, {}, {"Location": where}))
        async with aiohttp.ClientSession() as http, Worker(settings(api_base_url=studio.url), http=http) as worker:
            events = worker.events()
            await soon(studio.welcomed())
        lost = [event async for event in events if isinstance(event, SessionLost)]
        assert [where in event.reason and "that is not a studio" in event.reason for event in lost] == [True]
        assert elsewhere.of_type("hello") == []
        assert [request.bearer for request in elsewhere.requests] == [None]


async def test_a_session_that_is_closed_under_the_worker_is_said_and_ends_nothing_else(settings, studio, soon):
    async with aiohttp.ClientSession() as http, Worker(settings(api_base_url=studio.url), http=http) as worker:
        events = worker.events()
        await soon(studio.welcomed())
        await http.close()
        lost = await soon(_second(event async for event in events if isinstance(event, SessionLost)))
        assert "closed by its owner" in lost.reason
    async with Worker(settings(api_base_url=studio.url)):
        await soon(studio.welcomed(2))
        await studio.offer(llm_claim("later"))
        await soon(studio.frame("completeJson", job_id="later"))


async def _second(events):
    await anext(events)
    return await anext(events)


async def test_a_worker_without_a_studio_asks_nobody_through_it(settings, words):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Loopback())) as http:
        async with Worker(settings(), http=http) as worker:
            await worker.submit(words(), model="synthetic-llm")
        assert not http.closed
    await asyncio.sleep(0)
