"""Uploads, against a real server on loopback."""

import asyncio
import json
import os
import random
import resource
import socket
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from studio_worker.errors import ResultRejected
from studio_worker.jobs import upload_body
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.results import Memory
from studio_worker.jobs.uploads import Uploader, UploadTimings
from studio_worker.wire.urls import StudioUrls

QUICK = UploadTimings(connect_secs=5, stall_secs=0.5, answer_secs=0.7, body_secs=0.3, slowest_bytes_per_sec=500_000)
ROUTE = "/graphics/api/workers/w-1/jobs/{job}/complete"


class Server:
    """Takes uploads as a studio does; `answer` says what comes back."""

    def __init__(self):
        self.uploads: list[dict] = []
        self.followed = 0
        self.answer = self.stored
        self.url = ""

    async def stored(self, request):
        return web.json_response({"ok": True})

    async def received(self, request):
        return await self.complete(request)

    async def complete(self, request):
        parts = []
        async for part in await request.multipart():
            parts.append((part.name, part.filename, part.headers.get("Content-Type"), bytes(await part.read())))
        self.uploads.append({"request": request, "parts": parts})
        return await self.answer(request)

    async def follow(self, request):
        self.followed += 1
        return web.json_response({})


@pytest.fixture
async def server():
    found = Server()
    app = web.Application(client_max_size=1024**3)
    app.router.add_post(ROUTE, found.received)
    app.router.add_route("*", "/elsewhere", found.follow)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@asynccontextmanager
async def uploader(url, timings=None, credentials=("w-1", "t-1")):
    async with aiohttp.ClientSession() as http:
        yield Uploader(http, lambda: StudioUrls.parse(url), lambda: credentials, timings=timings)


async def upload(url, kept, **parts):
    async with uploader(url, **parts) as found:
        return await found.upload(kept)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "spooled"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1_000))
    return path


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(random.Random(1).randbytes(5 * 1024 * 1024 + 7))
    return path


class TestTheRequest:
    async def test_carries_the_parts_in_order(self, server, kept_file, file):
        answer = await upload(server.url, kept_file(file, "job:1", attempt=3))
        assert answer.status == 200
        parts = server.uploads[0]["parts"]
        assert [part[0] for part in parts] == ["prompt", "ext", "attempt", "generationMeta", "image"]
        assert [part[3] for part in parts[:3]] == [b"a cup", b"png", b"3"]
        assert json.loads(parts[3][3]) == {"seed": 7}
        assert parts[4][1:3] == ("job:1.png", "image/png")
        assert parts[4][3] == file.read_bytes()

    async def test_leaves_out_the_attempt_that_a_claim_did_not_carry(self, server, kept_file, file):
        await upload(server.url, kept_file(file))
        assert "attempt" not in [part[0] for part in server.uploads[0]["parts"]]

    async def test_bears_the_token_and_says_how_long_it_is(self, server, kept_file, file):
        await upload(server.url, kept_file(file))
        request = server.uploads[0]["request"]
        assert request.headers["Authorization"] == "Bearer t-1"
        assert int(request.headers["Content-Length"]) > file.stat().st_size
        assert "Transfer-Encoding" not in request.headers

    async def test_carries_a_prompt_of_any_text_whole(self, server, kept_file, file):
        prompt = 'ünï "code"\r\n--boundary\r\n' + "x" * 50_000
        await upload(server.url, kept_file(file, prompt=prompt))
        assert server.uploads[0]["parts"][0][3].decode() == prompt

    async def test_carries_a_large_file_whole(self, server, kept_file, large):
        await upload(server.url, kept_file(large))
        assert server.uploads[0]["parts"][-1][3] == large.read_bytes()

    @pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 1_048_576, 1_048_577])
    async def test_carries_files_of_any_size_whole(self, server, kept_file, tmp_path, size):
        path = tmp_path / "sized"
        path.write_bytes(random.Random(size).randbytes(size))
        assert (await upload(server.url, kept_file(path))).status == 200
        assert server.uploads[0]["parts"][-1][3] == path.read_bytes()

    async def test_leaves_a_moment_between_its_texts_and_its_bytes(self, server, kept_file, file):
        kept, data = kept_file(file), file.read_bytes()
        file.unlink()
        async with uploader(server.url) as found:
            answer = await found.upload(kept, lambda: file.write_bytes(data))
        assert answer.status == 200
        assert server.uploads[0]["parts"][-1][3] == data

    async def test_sends_what_is_at_hand_without_reading_the_file(self, server, kept_file, file):
        kept = kept_file(file)
        kept = replace(kept, memory=Memory(file.read_bytes()))
        file.unlink()
        assert (await upload(server.url, kept)).status == 200
        assert server.uploads[0]["parts"][-1][3] == kept.at_hand

    async def test_is_built_anew_for_each_try(self, server, kept_file, file):
        async with uploader(server.url) as found:
            kept = kept_file(file)
            await found.upload(kept)
            await found.upload(kept)
        assert [len(seen["parts"]) for seen in server.uploads] == [4, 4]

    async def test_without_a_token_is_not_made(self, server, kept_file, file):
        answer = await upload(server.url, kept_file(file), credentials=None)
        assert answer.status == 401
        assert server.uploads == []


class TestTheAnswer:
    async def test_tells_status_and_first_line(self, server, kept_file, file):
        async def answer(request):
            return web.Response(status=413, text="too \x1b[2J large\nsecond line")

        server.answer = answer
        found = await upload(server.url, kept_file(file))
        assert (found.status, found.text) == (413, "too \\x1b[2J large")

    @pytest.mark.parametrize(
        ("media_type", "text", "is_page"),
        [
            ("text/html", "<title>Welcome</title>", True),
            ("application/xhtml+xml", "<?xml version='1.0'?><html/>", True),
            ("text/plain", "\ufeff \n<!DOCTYPE html>", True),
            ("application/octet-stream", "<HTML>", True),
            ("text/html", "ok", False),
            ("application/xml", "<ok/>", False),
        ],
    )
    async def test_tells_a_web_page(self, server, kept_file, file, media_type, text, is_page):
        async def page(request):
            return web.Response(body=text.encode(), content_type=media_type)

        server.answer = page
        assert (await upload(server.url, kept_file(file))).is_page is is_page

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ('{"reason": "done"}', "done"),
            ('{"reason": 5}', None),
            ("[]", None),
            ("no json", None),
            ("", None),
            ('{"reason": "done", "reason": "other"}', None),
        ],
    )
    async def test_of_409_tells_the_reason_that_its_body_names(self, server, kept_file, file, body, reason):
        async def answer(request):
            return web.Response(status=409, text=body)

        server.answer = answer
        assert (await upload(server.url, kept_file(file))).reason == reason

    async def test_tells_the_retry_after(self, server, kept_file, file):
        async def answer(request):
            return web.Response(status=503, headers={"Retry-After": "7"})

        server.answer = answer
        assert (await upload(server.url, kept_file(file))).retry_after == "7"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_that_points_elsewhere_is_not_followed(self, server, kept_file, file, status):
        async def answer(request):
            return web.Response(status=status, headers={"Location": "/elsewhere"})

        server.answer = answer
        assert (await upload(server.url, kept_file(file))).status == status
        assert server.followed == 0

    async def test_with_an_endless_body_is_decided_by_its_status(self, server, kept_file, file):
        async def answer(request):
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x" * 65_536)

        server.answer = answer
        found = await upload(server.url, kept_file(file), timings=QUICK)
        assert found.status == 200
        assert len(found.text) < 1_000

    async def test_with_a_body_that_never_comes_is_decided_by_its_status(self, server, kept_file, file):
        async def answer(request):
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(30)
            return response

        server.answer = answer
        assert (await upload(server.url, kept_file(file), timings=QUICK)).status == 200

    async def test_that_never_comes_counts_as_no_network(self, server, kept_file, file):
        async def answer(request):
            await asyncio.sleep(30)

        server.answer = answer
        found = await upload(server.url, kept_file(file), timings=QUICK)
        assert (found.status, found.text) == (None, "no answer came")

    async def test_that_is_slow_but_comes_is_waited_for(self, server, kept_file, file):
        async def answer(request):
            await asyncio.sleep(0.5)
            return web.json_response({})

        server.answer = answer
        timings = UploadTimings(stall_secs=0.2, answer_secs=10)
        assert (await upload(server.url, kept_file(file), timings=timings)).status == 200


class TestTheNetwork:
    async def test_that_is_closed_is_told_as_no_answer(self, kept_file, file):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        assert (await upload(f"http://127.0.0.1:{port}", kept_file(file))).status is None

    async def test_that_cuts_the_answer_is_told_as_no_answer(self, server, kept_file, file):
        async def answer(request):
            request.transport.abort()
            await asyncio.sleep(1)

        server.answer = answer
        assert (await upload(server.url, kept_file(file))).status is None

    async def test_whose_peer_never_reads_is_given_up(self, kept_file, large):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            begin = asyncio.get_running_loop().time()
            found = await upload(f"http://127.0.0.1:{listener.getsockname()[1]}", kept_file(large), timings=QUICK)
        assert found.status is None
        assert asyncio.get_running_loop().time() - begin < 10

    async def test_that_swallows_a_small_upload_into_its_buffers_and_stays_silent_is_given_up(self, kept_file, file):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            found = await upload(f"http://127.0.0.1:{listener.getsockname()[1]}", kept_file(file), timings=QUICK)
        assert (found.status, found.text) == (None, "no answer came")

    async def test_that_is_slow_but_moves_is_never_cut(self, kept_file, large):
        got, tail = bytearray(), large.read_bytes()[-100:]

        async def sip(reader, writer):
            # An eighth of a megabyte each fiftieth of a second: longer than a stall in all.
            while tail not in got[-1_000_000:]:
                got.extend(await reader.read(262_144))
                await asyncio.sleep(0.03)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(sip, "127.0.0.1", 0, limit=65_536)
        begin = asyncio.get_running_loop().time()
        async with server:
            found = await upload(
                f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", kept_file(large), timings=QUICK
            )
        assert found.status == 200
        assert asyncio.get_running_loop().time() - begin > QUICK.stall_secs


async def no_thread(lookout, call):
    raise TimeoutError("can't start new thread")


class TestTheFile:
    async def test_that_is_gone_fails_so_that_the_job_runs_again(self, server, kept_file, file):
        kept = kept_file(file)
        file.unlink()
        with pytest.raises(ResultRejected, match="spool-lost") as caught:
            await upload(server.url, kept)
        assert caught.value.retryable

    async def test_that_cannot_be_opened_for_lack_of_descriptors_is_sent_at_another_try(self, server, kept_file, file):
        kept, held = kept_file(file), []

        def exhaust():
            with suppress(OSError):
                while True:
                    held.append(os.open(os.devnull, os.O_RDONLY))

        bounds = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with uploader(server.url) as found:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 64, bounds[1]))
                answer = await found.upload(kept, exhaust)
            finally:
                for descriptor in held:
                    os.close(descriptor)
                resource.setrlimit(resource.RLIMIT_NOFILE, bounds)
            assert answer.status is None
            assert answer.text == "the kept result could not be read: Too many open files"
            assert (await found.upload(kept)).status == 200

    async def test_whose_folder_is_away_for_a_moment_is_sent_when_it_is_back(self, server, kept_file, tmp_path):
        folder, away = tmp_path / "spool", tmp_path / "away"
        folder.mkdir()
        (folder / "spooled").write_bytes(b"abc")
        kept = kept_file(folder / "spooled")
        async with uploader(server.url) as found:
            folder.rename(away)
            assert (await found.upload(kept)).status is None
            away.rename(folder)
            assert (await found.upload(kept)).status == 200

    async def test_that_breaks_off_in_the_middle_is_sent_at_another_try(self, server, kept_file, large, monkeypatch):
        real, reads = upload_body._read_on, []

        def broken(summed, left, file):
            reads.append(left)
            if len(reads) == 3:
                raise OSError(5, "Input/output error")
            return real(summed, left, file)

        monkeypatch.setattr(upload_body, "_read_on", broken)
        async with uploader(server.url) as found:
            kept = replace(kept_file(large), checksum=checksum_of([large.read_bytes()]))
            answer = await found.upload(kept)
            assert (answer.status, answer.text) == (None, "the kept result could not be read: Input/output error")
            assert (await found.upload(kept)).status == 200

    async def test_on_a_disk_that_hangs_costs_one_thread_however_often_it_is_tried(
        self, server, kept_file, file, monkeypatch
    ):
        answers, opened = threading.Event(), Path.open

        def hang(path, *args, **more):
            if path == file:
                assert answers.wait(30)
            return opened(path, *args, **more)

        monkeypatch.setattr(Path, "open", hang)
        kept = kept_file(file)
        timings = UploadTimings(connect_secs=0.05, stall_secs=0.05)
        try:
            async with uploader(server.url, timings) as found:
                for _ in range(4):
                    answer = await found.upload(kept)
                    assert (answer.status, answer.text) == (None, "no byte moved for too long")
                assert [each.name for each in threading.enumerate()].count("kept result") == 1
                answers.set()
        finally:
            answers.set()
        assert (await upload(server.url, kept)).status == 200
        assert server.uploads[-1]["parts"][-1][3] == file.read_bytes()

    async def test_that_no_thread_can_be_started_for_is_sent_at_another_try(self, server, kept_file, file, monkeypatch):
        async with uploader(server.url) as found:
            with monkeypatch.context() as patched:
                patched.setattr(upload_body.Lookout, "look", no_thread)
                answer = await found.upload(kept_file(file))
            assert answer.status is None
            assert answer.text == "the kept result could not be read: can't start new thread"
            assert (await found.upload(kept_file(file))).status == 200

    async def test_that_is_not_what_was_kept_is_never_sent_to_its_end(self, server, kept_file, large):
        kept = replace(kept_file(large), checksum=checksum_of([large.read_bytes()]))
        with large.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"?")
        with pytest.raises(ResultRejected, match="not what was kept"):
            await upload(server.url, kept)

    async def test_that_is_longer_than_its_result_is_sent_as_far_as_it_counts(self, server, kept_file, large):
        data = large.read_bytes()
        kept = replace(kept_file(large), checksum=checksum_of([data]))
        with large.open("ab") as file:
            file.write(b"the end of an older result")
        answer = await upload(server.url, kept)
        assert answer.status == 200

    async def test_that_has_shrunk_fails_so_that_the_job_runs_again(self, server, kept_file, large):
        kept = kept_file(large)
        large.write_bytes(b"short")
        with pytest.raises(ResultRejected, match="spool-lost"):
            await upload(server.url, kept)


class TestAResultThatIsNotSafeYet:
    """Its bytes travel while the disk takes them; the end of the form, without which it is none, waits."""

    async def begun(self, server, kept):
        """An upload that has handed on everything but the end, and a studio that has read some of it."""
        seen = asyncio.Event()

        async def count(request):
            async for _ in request.content.iter_any():
                seen.set()
            return web.json_response({"ok": True})

        server.complete = count
        uploading = asyncio.create_task(upload(server.url, kept))
        await asyncio.wait_for(seen.wait(), 10)
        return uploading

    @pytest.fixture
    async def unsafe(self, kept_file, file):
        return replace(kept_file(file), safe=asyncio.get_running_loop().create_future())

    async def test_is_not_whole_for_the_studio_before_it_is_safe(self, server, unsafe):
        uploading = await self.begun(server, unsafe)
        assert not uploading.done()
        unsafe.safe.set_result(None)
        assert (await uploading).status == 200

    async def test_is_never_whole_where_the_disk_refuses_it(self, server, unsafe):
        uploading = await self.begun(server, unsafe)
        unsafe.safe.set_exception(OSError(5, "Input/output error"))
        with pytest.raises(ResultRejected, match="Input/output error") as caught:
            await uploading
        assert (caught.value.rule, caught.value.retryable) == ("spool-lost", True)

    async def test_whose_upload_is_cancelled_may_be_sent_again(self, server, unsafe):
        uploading = await self.begun(server, unsafe)
        uploading.cancel()
        await asyncio.wait([uploading])
        unsafe.safe.set_result(None)
        assert (await upload(server.url, unsafe)).status == 200


async def test_a_cancelled_upload_ends_and_leaves_no_connection_open(server, kept_file, file):
    asked = asyncio.Event()

    async def answer(request):
        asked.set()
        await asyncio.sleep(30)

    server.answer = answer
    async with uploader(server.url) as found:
        task = asyncio.create_task(found.upload(kept_file(file)))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_client_that_its_owner_has_closed_is_no_answer_so_that_the_result_stays(server, kept_file, file):
    http = aiohttp.ClientSession()
    await http.close()
    found = Uploader(http, lambda: StudioUrls.parse(server.url), lambda: ("w-1", "t-1"))
    answer = await found.upload(kept_file(file))
    assert (answer.status, "closed by its owner" in answer.text) == (None, True)
    assert server.uploads == []


async def test_a_client_that_raises_for_statuses_brings_the_studios_answer_all_the_same(server, kept_file, file):
    async def answer(request):
        return web.json_response({"reason": "done"}, status=409)

    server.answer = answer
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        found = Uploader(http, lambda: StudioUrls.parse(server.url), lambda: ("w-1", "t-1"))
        said = await found.upload(kept_file(file))
    assert (said.status, said.reason) == (409, "done")
