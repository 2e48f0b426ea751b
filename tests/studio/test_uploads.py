"""Results as uploads: who may send them, what is taken, what is kept (protocol section 5)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from studio_worker.studio import uploads
from studio_worker.studio.settling import Settling
from studio_worker.studio.timings import Limits, Timings
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


async def take(admin: Admin, worker: RawWorker, job_id: str = "fox") -> dict[str, Any]:
    await admin.add(image_job(job_id))
    claim = await worker.offer()
    await worker.send("accept", jobId=job_id)
    return claim


def left(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Stored blobs, and uploads under way."""
    folder = tmp_path / "data" / "blobs"
    return [path for path in folder.iterdir() if path.is_file()], list((folder / "incoming").iterdir())


async def post(worker: RawWorker, data: Any, job_id: str = "fox", **headers: str) -> tuple[int, Any]:
    url = f"{worker.base}/workers/{worker.worker_id}/jobs/{job_id}/complete"
    headers = {"Authorization": f"Bearer {worker.token}", **headers}
    async with worker.http.post(url, data=data, headers=headers) as response:
        return response.status, await response.json()


async def test_the_bytes_decide_what_a_result_is(admin: Admin, worker: RawWorker) -> None:
    await take(admin, worker)
    await worker.upload("fox", b"RIFF\0\0\0\0WAVEfmt ", ext="png")

    assert (await admin.job("fox"))["resultType"] == "audio/wav"


@pytest.mark.parametrize(
    "data",
    [b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<!doctype html><script>1</script>", b"MZ\x90\0"],
    ids=["svg", "html", "program"],
)
async def test_what_is_no_medium_is_kept_inert(admin: Admin, worker: RawWorker, data: bytes) -> None:
    await take(admin, worker)
    await worker.upload("fox", data)

    async with admin.http.get((await admin.job("fox"))["resultUrl"], headers=admin.headers) as response:
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert await response.read() == data


async def test_a_script_behind_a_picture_stays_a_picture_in_a_sandbox(admin: Admin, worker: RawWorker) -> None:
    await take(admin, worker)
    await worker.upload("fox", PNG + b"<script>alert(1)</script>")

    async with admin.http.get((await admin.job("fox"))["resultUrl"], headers=admin.headers) as response:
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("name", ["../../x.png", 'a".png; x="y', "/etc/passwd", "..\\..\\x", "x" * 5_000])
async def test_the_clients_file_name_is_ignored(admin: Admin, worker: RawWorker, tmp_path: Path, name: str) -> None:
    await take(admin, worker)
    form = aiohttp.FormData()
    form.add_field("image", PNG, filename=name, content_type="text/html")

    status, _ = await post(worker, form)

    assert status == 200
    (blob,), incoming = left(tmp_path)
    assert set(blob.name) <= set("0123456789abcdef-")
    assert incoming == []


async def test_the_prompt_and_the_meta_are_kept(admin: Admin, worker: RawWorker) -> None:
    await take(admin, worker)
    await worker.upload("fox", prompt="A fox, whole", generationMeta=json.dumps({"seed": 7}))

    job = await admin.job("fox")

    assert (job["prompt"], job["generationMeta"]) == ("A fox, whole", {"seed": 7})


async def test_meta_that_cannot_be_read_costs_no_result(admin: Admin, worker: RawWorker) -> None:
    await take(admin, worker)

    status, _ = await worker.upload("fox", generationMeta="{NaN")

    assert status == 200
    assert "generationMeta" not in await admin.job("fox")


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer wrong"])
async def test_an_upload_needs_the_workers_bearer(admin: Admin, worker: RawWorker, header: str | None) -> None:
    await take(admin, worker)
    url = f"{worker.base}/workers/{worker.worker_id}/jobs/fox/complete?token={worker.token}"

    async with worker.http.post(url, data=PNG, headers={"Authorization": header} if header else {}) as response:
        assert response.status == 401

    assert (await admin.job("fox"))["state"] == "claimed"


async def test_an_upload_under_another_workers_name_is_refused(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    await take(admin, worker)
    other = await make_worker()

    status, _ = await worker.upload("fox", token=other.token)

    assert status == 401


async def test_an_upload_by_a_worker_that_does_not_hold_the_job_is_refused(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    await take(admin, worker)
    other = await make_worker()

    status, said = await other.upload("fox")

    assert (status, said["reason"]) == (409, "other")
    assert (await worker.upload("fox"))[0] == 200


async def test_an_upload_of_a_job_that_was_never_claimed_is_refused(admin: Admin, make_worker: MakeWorker) -> None:
    await admin.add(image_job("fox"))
    worker = await make_worker()

    status, said = await worker.upload("fox")

    assert (status, said["reason"]) == (409, "other")


async def test_an_upload_of_an_unknown_job_is_a_404(worker: RawWorker) -> None:
    assert (await worker.upload("unknown"))[0] == 404


@pytest.mark.parametrize("job_id", ["..%5c", "%00", "%2e%2e", "a b", ":x"])
async def test_an_upload_with_a_broken_job_id_is_refused(worker: RawWorker, job_id: str) -> None:
    url = URL(f"{worker.base}/workers/{worker.worker_id}/jobs/{job_id}/complete".replace(" ", "%20"), encoded=True)
    async with worker.http.post(url, data=PNG, headers={"Authorization": f"Bearer {worker.token}"}) as response:
        assert response.status in (400, 404)


async def test_a_second_upload_is_refused_as_done(admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
    await take(admin, worker)
    await worker.upload("fox")

    status, said = await worker.upload("fox", PNG + b"again")

    assert (status, said["reason"]) == (409, "done")
    assert len(left(tmp_path)[0]) == 1


async def test_of_two_uploads_at_once_one_is_taken(admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
    await take(admin, worker)

    answers = await asyncio.gather(*(worker.upload("fox", PNG + bytes([n]) * 200_000) for n in range(4)))

    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert [said["reason"] for status, said in answers if status == 409] == ["done"] * 3
    blobs, incoming = left(tmp_path)
    assert (len(blobs), incoming) == (1, [])


async def test_of_many_uploads_at_once_for_a_job_a_few_are_begun(
    admin: Admin, worker: RawWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take(admin, worker)
    begun, go = [], asyncio.Event()
    read = uploads.read_form

    async def read_later(*form: Any) -> Any:
        begun.append(form)
        await go.wait()
        return await read(*form)

    monkeypatch.setattr(uploads, "read_form", read_later)
    asked = [asyncio.create_task(worker.upload("fox")) for _ in range(6)]
    done, waiting = await asyncio.wait(asked, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        done, waiting = await asyncio.wait(asked, timeout=0.05)
    assert [(status, "are under way" in said["error"]) for status, said in (task.result() for task in done)] == [
        (429, True)
    ] * 2
    go.set()
    assert sorted(status for status, _ in await asyncio.gather(*waiting)) == [200, 409, 409, 409]
    assert len(begun) == 4


async def test_an_upload_is_taken_where_the_job_is_queued_again_and_was_this_workers(
    admin: Admin, worker: RawWorker
) -> None:
    await take(admin, worker)
    await worker.close()
    await admin.until("fox", "queued")

    status, _ = await worker.upload("fox")

    assert status == 200
    assert (await admin.job("fox"))["state"] == "done"


async def test_an_upload_is_refused_where_another_worker_has_the_job_now(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    await take(admin, worker)
    other = await (await make_worker()).connect()
    await worker.close()
    await other.offer()

    status, said = await worker.upload("fox")

    assert (status, said["reason"]) == (409, "other")
    assert (await other.upload("fox"))[0] == 200


async def test_a_late_upload_of_an_earlier_attempt_is_refused_by_the_fence(admin: Admin, worker: RawWorker) -> None:
    await take(admin, worker)
    await worker.send("fail", jobId="fox", error="x", retryable=True)
    await worker.receive("failAck")
    claim = await worker.offer()
    await worker.send("accept", jobId="fox", attempt=claim["attempt"])

    status, said = await worker.upload("fox", attempt="1")

    assert (status, said["reason"]) == (409, "other")
    assert (await worker.upload("fox", attempt="2"))[0] == 200


async def test_an_upload_after_an_operators_retry_is_refused(admin: Admin, make_worker: MakeWorker) -> None:
    worker = await (await make_worker()).connect()
    await take(admin, worker)
    await worker.send("fail", jobId="fox", error="x", retryable=False)
    await worker.receive("failAck")
    await worker.close()
    await admin.call("POST", "/jobs/fox/retry")

    status, said = await worker.upload("fox")

    assert (status, said["reason"]) == (409, "other")


async def test_an_operators_retry_forgets_the_older_result(admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
    await take(admin, worker)
    await worker.upload("fox")
    await worker.beat(autoEnabled=False)
    await admin.call("POST", "/jobs/fox/retry")

    assert "resultUrl" not in await admin.job("fox")
    assert (await admin.call("GET", "/jobs/fox/result"))[0] == 404
    assert left(tmp_path)[0] == []


@pytest.mark.parametrize("attempt", ["x", "-1", "1.5", "9" * 30])
async def test_an_attempt_that_is_no_number_is_refused_by_name(admin: Admin, worker: RawWorker, attempt: str) -> None:
    await take(admin, worker)

    status, said = await worker.upload("fox", attempt=attempt)

    assert (status, said["field"]) == (400, "attempt")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (PNG, "image/png"),
        (PNG, "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"nothing here", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nno name\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nhi\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"\r\nContent-Encoding: gzip\r\n\r\nhi\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nhi\r\n--y--\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
    ],
    ids=["no form", "no boundary", "empty", "no part", "no name", "no image", "encoded part", "nested form"],
)
async def test_what_is_no_form_with_an_image_is_refused(
    admin: Admin, worker: RawWorker, tmp_path: Path, body: bytes, content_type: str
) -> None:
    await take(admin, worker)

    status, _ = await post(worker, body, **{"Content-Type": content_type})

    assert status == 400
    assert left(tmp_path) == ([], [])
    assert (await worker.upload("fox"))[0] == 200


async def test_two_image_parts_are_refused(admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
    await take(admin, worker)
    form = aiohttp.FormData()
    form.add_field("image", PNG, filename="a.png")
    form.add_field("image", PNG, filename="b.png")

    status, said = await post(worker, form)

    assert (status, said["field"]) == (400, "image")
    assert left(tmp_path) == ([], [])


async def test_a_form_of_many_parts_is_refused(admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
    await take(admin, worker)
    form = aiohttp.FormData(default_to_multipart=True)
    for number in range(17):
        form.add_field(f"part-{number}", "x")

    assert (await post(worker, form))[0] == 413
    assert left(tmp_path) == ([], [])


class TestBounds:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(register_requests=1_000, upload_bytes=300_000, upload_text_bytes=10_000)

    async def test_a_result_over_the_bound_is_refused(self, admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
        await take(admin, worker)

        status, _ = await worker.upload("fox", PNG + bytes(300_000))

        assert status == 413
        assert left(tmp_path) == ([], [])

    async def test_a_declared_length_over_the_bound_is_refused_unread(self, admin: Admin, worker: RawWorker) -> None:
        await take(admin, worker)
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(worker.base.split(":")[2].split("/")[0]))
            path = f"/graphics/api/workers/{worker.worker_id}/jobs/fox/complete"
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {worker.token}\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 10000000000\r\n\r\n".encode()
            )
            assert b" 413 " in await reader.readline()
            writer.close()

    async def test_a_result_over_the_bound_without_a_length_is_refused(
        self, admin: Admin, worker: RawWorker, tmp_path: Path
    ) -> None:
        await take(admin, worker)

        async def body() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            for _ in range(40):
                yield bytes(10_000)

        status, _ = await post(worker, body(), **{"Content-Type": "multipart/form-data; boundary=x"})

        assert status == 413
        assert left(tmp_path) == ([], [])

    async def test_a_text_part_over_the_bound_is_refused(self, admin: Admin, worker: RawWorker) -> None:
        await take(admin, worker)

        assert (await worker.upload("fox", prompt="x" * 10_001))[0] == 413


async def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_made_again(
    admin: Admin, worker: RawWorker, tmp_path: Path
) -> None:
    await take(admin, worker)
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + bytes(100_000)
    _, writer = await asyncio.open_connection("127.0.0.1", int(worker.base.split(":")[2].split("/")[0]))
    path = f"/graphics/api/workers/{worker.worker_id}/jobs/fox/complete"
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {worker.token}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 200000\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    writer.transport.abort()

    assert (await worker.upload("fox"))[0] == 200

    async with asyncio.timeout(5):
        while left(tmp_path)[1]:
            await asyncio.sleep(0.01)
    assert len(left(tmp_path)[0]) == 1


class TestStall:
    @pytest.fixture
    def timings(self) -> Timings:
        return Timings(upload_idle_secs=0.3, close_secs=0.3, shutdown_secs=0.5)

    async def test_an_upload_that_stalls_is_ended(self, admin: Admin, worker: RawWorker, tmp_path: Path) -> None:
        await take(admin, worker)

        async def body() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nbegun'
            await asyncio.Event().wait()

        status, _ = await post(worker, body(), **{"Content-Type": "multipart/form-data; boundary=x"})

        assert status == 408
        assert left(tmp_path) == ([], [])


async def test_a_job_swept_while_its_upload_runs_is_never_done_twice(
    admin: Admin, worker: RawWorker, make_worker: MakeWorker
) -> None:
    await take(admin, worker)
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + PNG
        halfway.set()
        await go_on.wait()
        yield b"\r\n--x--\r\n"

    uploading = asyncio.create_task(post(worker, body(), **{"Content-Type": "multipart/form-data; boundary=x"}))
    await halfway.wait()
    other = await (await make_worker()).connect()
    await worker.close()
    await other.offer()
    await other.send("accept", jobId="fox")
    go_on.set()

    status, said = await uploading

    assert (status, said["reason"]) == (409, "other")
    assert (await other.upload("fox"))[0] == 200
    assert (await admin.job("fox"))["workerId"] == other.worker_id


async def test_a_job_offered_in_the_moment_in_which_an_older_upload_finishes_it_holds_no_seat_for_ever(
    admin: Admin, worker: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await take(admin, worker)
    await worker.close()
    await admin.until("fox", "queued")
    finish, begun, go_on = Settling._finish, asyncio.Event(), asyncio.Event()

    async def late(*arguments: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Settling, "_finish", late)
        uploading = asyncio.create_task(worker.upload("fox"))
        await begun.wait()
    await worker.connect()
    await worker.offer()
    go_on.set()
    assert (await uploading)[0] == 200
    await worker.send("accept", jobId="fox")
    await admin.add(llm_job("next"))

    status, said = await worker.upload("fox")

    assert (status, said["reason"]) == (409, "done")
    assert (await worker.offer())["jobId"] == "next"


async def test_the_next_job_is_offered_after_an_upload(admin: Admin, worker: RawWorker) -> None:
    await take(admin, worker)
    await admin.add(llm_job("next"))
    await worker.upload("fox")

    assert (await worker.offer())["jobId"] == "next"
