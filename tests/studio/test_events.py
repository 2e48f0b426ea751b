"""The event stream: what it tells, and what becomes of a reader that does not read."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.events import Change, Hub
from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits, Timings
from studio_worker.testing.raw_worker import Admin, RawWorker, image_job, llm_job, registration


class Stream:
    """One reader of the event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self, topic: str) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                line = (await self.response.content.readline()).decode()
                assert line, "the stream has ended"
                if line.strip() == f"event: {topic}":
                    return dict(json.loads((await self.response.content.readline()).decode().removeprefix("data: ")))


@pytest.fixture
async def stream(admin: Admin) -> Any:
    async with admin.http.get(admin.base + "/events", headers=admin.headers) as response:
        assert response.content_type == "text/event-stream"
        await response.content.readline()
        yield Stream(response)


async def test_a_queued_job_is_told(admin: Admin, stream: Stream) -> None:
    await admin.add(llm_job("talk"))

    assert await stream.next("job") == {"jobId": "talk", "state": "queued", "attempts": 0}


async def test_every_move_of_a_job_is_told(admin: Admin, worker: RawWorker, stream: Stream) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.send("completeJson", jobId="talk", result={})

    states = []
    while "done" not in states:
        states.append((await stream.next("job"))["state"])

    assert list(dict.fromkeys(states)) == ["queued", "claimed", "done"]


async def test_a_failure_is_told_with_its_error(admin: Admin, worker: RawWorker, stream: Stream) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.send("fail", jobId="talk", error="no engine", retryable=False)

    while (told := await stream.next("job"))["state"] != "failed":
        pass

    assert told["error"] == "no engine"


async def test_progress_is_told(admin: Admin, worker: RawWorker, stream: Stream) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("progress", jobId="fox", step=3, total=20, stage="denoise")

    assert await stream.next("progress") == {"jobId": "fox", "step": 3, "total": 20, "stage": "denoise"}


async def test_a_waiting_worker_is_told(admin: Admin, stream: Stream) -> None:
    async with admin.http.post(admin.base + "/workers/register-request", json=registration()) as answer:
        request_id = (await answer.json())["requestId"]

    assert await stream.next("pending") == {"requestId": request_id}


async def test_models_and_logs_are_told(admin: Admin, worker: RawWorker, stream: Stream) -> None:
    await admin.call("POST", "/models", {"id": "m", "kind": "llm", "engine": "synthetic"})
    assert await stream.next("model") == {"id": "m"}

    await worker.send("logBatch", entries=[{"ts": "t", "level": "info", "category": "c", "message": "m"}])
    assert (await stream.next("log"))["workerId"] == worker.worker_id


class TestKeepAlive:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(keep_alive_secs=0.1, close_secs=0.3, shutdown_secs=0.3)

    async def test_a_quiet_stream_is_kept_open_by_comments(self, stream: Stream) -> None:
        seen = []
        async with asyncio.timeout(5):
            while seen.count(b": keep-alive\n") < 2:
                seen.append(await stream.response.content.readline())


class TestSlowReader:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(register_requests=1_000, event_queue=16, event_readers=2)

    async def test_a_reader_that_never_reads_is_dropped_at_its_bound(self, admin: Admin, studio: StudioServer) -> None:
        port = int(studio.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(
            "GET /graphics/api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {studio.admin_token}\r\n\r\n".encode()
        )
        await reader.read(1)
        hub = studio._parts.hub if studio._parts else None
        assert hub is not None
        async with asyncio.timeout(20):
            while hub.readers:
                for _ in range(50):
                    hub.publish("job", error="x" * 10_000)
                await asyncio.sleep(0)
        writer.transport.abort()

    async def test_no_more_streams_are_opened_than_the_bound(self, admin: Admin) -> None:
        async def opened() -> aiohttp.ClientResponse:
            response = await admin.http.get(admin.base + "/events", headers=admin.headers)
            if response.status == 200:
                await response.content.readline()
            return response

        responses = [await opened() for _ in range(3)]

        assert [response.status for response in responses] == [200, 200, 503]
        assert responses[2].headers["Retry-After"] == "5"
        for response in responses:
            response.close()


class TestHub:
    async def test_a_reader_gets_changes_in_order(self) -> None:
        hub = Hub(4)
        reader = hub.join(lambda: None)
        hub.publish("job", jobId="a")
        hub.publish("job", jobId="b", error=None)

        assert await reader.next(1) == Change("job", {"jobId": "a"})
        assert await reader.next(1) == Change("job", {"jobId": "b"})

    async def test_a_full_reader_is_dropped_once_and_others_are_not(self) -> None:
        hub = Hub(2)
        drops: list[str] = []
        slow = hub.join(lambda: drops.append("slow"))
        for number in range(5):
            hub.publish("job", n=number)
            if number == 0:
                quick = hub.join(lambda: drops.append("quick"))
            else:
                await quick.next(1)

        assert slow.is_dropped
        assert drops == ["slow"]

    async def test_a_closed_hub_ends_its_readers_and_those_that_come_later(self) -> None:
        hub = Hub(2)
        early = hub.join(lambda: None)
        hub.close()
        late = hub.join(lambda: None)

        assert await early.next(1) is None
        assert await late.next(1) is None

    async def test_a_reader_that_waits_in_vain_times_out(self) -> None:
        with pytest.raises(TimeoutError):
            await Hub(2).join(lambda: None).next(0.01)

    def test_a_change_cannot_forge_a_second_event(self) -> None:
        text = Change("job", {"error": "x\n\nevent: worker\ndata: {}"}).text()

        assert text.count(b"\n") == 3
