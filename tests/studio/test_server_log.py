"""What strangers send to our servers costs a line of level debug: no traceback, no bytes of theirs on a terminal."""

import asyncio
import io
import json
from collections.abc import Iterator

import pytest
from aiohttp import web
from loguru import logger

from studio_worker import log
from studio_worker.local_api.server import LocalApi
from studio_worker.server_log import SERVER_LOG
from studio_worker.testing.raw_worker import image_job

STRANGE = {
    "another version": b"GET / HTTP/9.9\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a header with a control character": b"GET / HTTP/1.1\r\nHost: x\r\nA\x1b[2Jb: c\r\n\r\n",
    "a line without end": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    "a chunk of no size": b"POST /jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a body that stops": b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
}


@pytest.fixture
def told() -> Iterator[io.StringIO]:
    """The log of this process, as JSON."""
    stream = io.StringIO()
    log.set_up("DEBUG", as_json=True, stream=stream)
    yield stream
    logger.remove()
    logger.disable("studio_worker")


async def send(url: str, data: bytes) -> None:
    """Write `data` to a server and leave, its answer read or not."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    try:
        async with asyncio.timeout(0.3):
            await reader.read()
    except (TimeoutError, ConnectionError):
        pass
    writer.close()


def above_debug(told: io.StringIO) -> list[str]:
    lines = told.getvalue().splitlines()
    assert all(len(line) < 8_000 for line in lines)
    return [line for line in lines if json.loads(line)["level"] not in ("debug", "info")]


@pytest.mark.parametrize("what", STRANGE)
async def test_a_studio_keeps_its_log_free_of_what_is_no_request(studio, told, capfd, what):
    await send(studio.url, STRANGE[what])
    await studio.aclose()
    assert above_debug(told) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("what", [what for what in STRANGE if what != "a body that stops"])
async def test_so_does_the_local_api(told, capfd, tmp_path, what):
    api = LocalApi(None, port=0, discovery=tmp_path / "daemon.json")
    await send(await api.start(), STRANGE[what])
    await api.aclose()
    assert above_debug(told) == []
    assert capfd.readouterr().err == ""


async def test_an_upload_that_breaks_off_is_no_error_of_the_studio(studio, admin, worker, told, capfd):
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("accept", jobId="fox")
    head = (
        f"POST /workers/{worker.worker_id}/jobs/fox/result HTTP/1.1\r\nHost: {studio.url[7:]}\r\n"
        f"Authorization: Bearer {worker.token}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        "Content-Length: 9999\r\n\r\n"
    )
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc'
    await send(studio.url, head.encode() + part)
    await worker.close()
    await studio.aclose()
    assert above_debug(told) == []
    assert capfd.readouterr().err == ""


async def test_an_error_of_the_server_itself_stays_an_error(told):
    async def broken(_: web.Request) -> web.Response:
        raise RuntimeError("a bug")

    app = web.Application()
    app.add_routes([web.get("/", broken)])
    runner = web.AppRunner(app, access_log=None, logger=SERVER_LOG)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await send(f"http://127.0.0.1:{runner.addresses[0][1]}", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await runner.cleanup()
    [line] = above_debug(told)
    assert json.loads(line)["error"] == "RuntimeError: a bug"
