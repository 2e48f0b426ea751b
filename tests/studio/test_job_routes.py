"""The admin's routes of jobs."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from yarl import URL

from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job

MakeWorker = Callable[..., Awaitable[RawWorker]]


async def finish(worker: RawWorker, data: bytes = PNG) -> None:
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    assert (await worker.upload(claim["jobId"], data))[0] == 200


async def test_a_queued_job_reads_as_it_was_asked_for(admin: Admin) -> None:
    asked = image_job("fox")
    await admin.add(asked)

    job = await admin.job("fox")

    assert job["jobId"] == "fox"
    assert (job["state"], job["attempts"], job["model"]) == ("queued", 0, "painter")
    assert job["task"] == asked["task"]
    assert job["modelSource"] == asked["modelSource"]
    assert job["createdAt"].endswith("Z")
    assert not {"workerId", "error", "result", "resultUrl", "finishedAt"} & set(job)


async def test_a_job_without_an_id_gets_one(admin: Admin) -> None:
    job = image_job("x")
    del job["id"]

    first, second = await admin.add(job), await admin.add(job)

    assert first != second
    assert (await admin.job(first))["state"] == "queued"


async def test_an_id_is_taken_once(admin: Admin) -> None:
    await admin.add(image_job("fox"))

    status, said = await admin.call("POST", "/jobs", image_job("fox"))

    assert status == 409
    assert "fox" in said["error"]
    assert len(await admin.get("/jobs")) == 1


async def test_what_the_task_does_not_carry_is_not_filled_in(admin: Admin) -> None:
    await admin.add(image_job("fox", task={"kind": "image", "prompt": "A fox", "seed": None}))

    assert (await admin.job("fox"))["task"] == {"kind": "image", "prompt": "A fox"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "../x"}, "id"),
        ({"id": ":x"}, "id"),
        ({"id": 7}, "id"),
        ({"id": "x" * 129}, "id"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"task": None}, "task"),
        ({"task": {"kind": "sculpture"}}, "task.kind"),
        ({"task": {"kind": "image"}}, "task.prompt"),
        ({"task": {"kind": "image", "prompt": "x", "width": 0}}, "task.width"),
        ({"task": {"kind": "image", "prompt": "x", "steps": "20"}}, "task.steps"),
        ({"modelSource": None}, "modelSource"),
        ({"modelSource": {"engine": "a b"}}, "modelSource.engine"),
        ({"modelSource": {"engine": "x", "files": [{"role": "model"}]}}, "modelSource.files.0.url"),
        ({"vramGbEstimate": -1}, "vramGbEstimate"),
        ({"vramGbEstimate": True}, "vramGbEstimate"),
    ],
)
async def test_a_bad_job_is_refused_by_the_name_of_the_field(admin: Admin, change: dict[str, Any], field: str) -> None:
    status, said = await admin.call("POST", "/jobs", image_job("fox") | change)

    assert (status, said["field"]) == (400, field), said
    assert await admin.get("/jobs") == []


async def test_a_data_url_may_be_larger_than_other_bodies(admin: Admin) -> None:
    url = "data:audio/wav;base64," + "A" * 3_000_000

    await admin.add(image_job("hear", task={"kind": "audio_stt", "inputUrl": url}))

    assert (await admin.job("hear"))["task"]["inputUrl"] == url


async def test_a_job_over_the_bound_is_refused(admin: Admin) -> None:
    async with admin.http.post(
        admin.base + "/jobs", data=b" " * (15 * 1024 * 1024 + 1), headers=admin.headers
    ) as response:
        assert response.status == 413


async def test_jobs_are_listed_newest_first(admin: Admin) -> None:
    for number in range(3):
        await admin.add(llm_job(f"job-{number}"))

    assert [job["jobId"] for job in await admin.get("/jobs")] == ["job-2", "job-1", "job-0"]


async def test_the_list_is_paged_by_the_last_job_seen(admin: Admin) -> None:
    for number in range(5):
        await admin.add(llm_job(f"job-{number}"))

    first = await admin.get("/jobs?limit=2")
    second = await admin.get(f"/jobs?limit=2&after={first[-1]['jobId']}")

    assert [job["jobId"] for job in first + second] == ["job-4", "job-3", "job-2", "job-1"]


async def test_the_list_is_narrowed_by_state(admin: Admin) -> None:
    await admin.add(llm_job("one"))
    await admin.add(llm_job("two"))
    await admin.call("POST", "/jobs/one/cancel")

    assert [job["jobId"] for job in await admin.get("/jobs?state=cancelled")] == ["one"]
    assert [job["jobId"] for job in await admin.get("/jobs?state=queued")] == ["two"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=-1", "limit"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1e2", "limit"),
        ("limit=%D9%A3", "limit"),
        ("state=lost", "state"),
        ("after=unknown", "after"),
        ("after=%00", "after"),
        ("state=%27%20OR%201=1", "state"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(admin: Admin, query: str, field: str) -> None:
    async with admin.http.get(URL(f"{admin.base}/jobs?{query}", encoded=True), headers=admin.headers) as response:
        assert response.status == 400
        assert (await response.json())["field"] == field


@pytest.mark.parametrize("job_id", ["%00", "..%5c", "..%2f..%2fadmin.json", "' OR 1=1", "a%0ab", "%2e%2e"])
@pytest.mark.parametrize("path", ["", "/result", "/preview"])
async def test_an_id_that_breaks_the_rule_is_refused(admin: Admin, job_id: str, path: str) -> None:
    url = URL(f"{admin.base}/jobs/{job_id.replace(' ', '%20')}{path}", encoded=True)
    async with admin.http.get(url, headers=admin.headers) as response:
        assert response.status in (400, 404)
        assert "error" in await response.json()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/preview")],
)
async def test_an_unknown_job_is_a_404(admin: Admin, method: str, path: str) -> None:
    assert (await admin.call(method, f"/jobs/unknown{path}"))[0] == 404


async def test_a_result_that_is_not_there_yet_is_a_404_that_says_so(admin: Admin) -> None:
    await admin.add(image_job("fox"))

    status, said = await admin.call("GET", "/jobs/fox/result")

    assert status == 404
    assert "queued" in said["error"]


async def test_a_json_result_is_given_as_it_came(admin: Admin, worker: RawWorker) -> None:
    result = {"text": "Good evening", "words": [None, 1.5], "ü": "ß"}
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.send("completeJson", jobId="talk", result=result)
    await worker.receive("completeAck")

    assert await admin.get("/jobs/talk/result") == result
    assert json.dumps((await admin.job("talk"))["result"], sort_keys=True) == json.dumps(result, sort_keys=True)


async def test_a_picture_is_shown_in_place_under_a_name_of_its_job(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox:1"))
    await finish(worker)

    async with admin.http.get((await admin.job("fox:1"))["resultUrl"], headers=admin.headers) as response:
        assert response.headers["Content-Disposition"] == 'inline; filename="fox_1.png"'
        assert response.headers["Content-Type"] == "image/png"


async def test_a_part_of_a_result_can_be_asked_for(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await finish(worker)

    headers = admin.headers | {"Range": "bytes=1-3"}
    async with admin.http.get(f"{admin.base}/jobs/fox/result", headers=headers) as response:
        assert response.status == 206
        assert await response.read() == PNG[1:4]
        assert response.headers["Content-Range"] == f"bytes 1-3/{len(PNG)}"


async def test_a_range_past_the_end_is_a_416(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await finish(worker)

    headers = admin.headers | {"Range": "bytes=100000-"}
    async with admin.http.get(f"{admin.base}/jobs/fox/result", headers=headers) as response:
        assert response.status == 416


async def test_a_link_in_the_place_of_a_result_is_not_followed(admin: Admin, worker: RawWorker, tmp_path: Any) -> None:
    await admin.add(image_job("fox"))
    await finish(worker)
    (blob,) = (path for path in (tmp_path / "data" / "blobs").iterdir() if path.is_file())
    blob.unlink()
    blob.symlink_to(tmp_path / "data" / "admin.json")

    assert (await admin.call("GET", "/jobs/fox/result"))[0] == 404


async def test_a_cancel_reason_has_to_be_text(admin: Admin) -> None:
    await admin.add(image_job("fox"))

    status, said = await admin.call("POST", "/jobs/fox/cancel", {"reason": 7})

    assert (status, said["field"]) == (400, "reason")


MODEL = {"id": "talker", "kind": "llm", "engine": "synthetic", "vramGbEstimate": 2.5}


class TestRegistry:
    async def test_a_job_may_leave_its_source_to_the_registry(self, admin: Admin, make_worker: MakeWorker) -> None:
        await admin.call("POST", "/models", MODEL)
        await admin.add(llm_job("talk", modelSource=None))
        worker = await (await make_worker()).connect()

        claim = await worker.offer()

        assert claim["modelSource"] == {"engine": "synthetic", "files": []}
        assert claim["vramGbEstimate"] == 2.5

    async def test_a_jobs_own_estimate_wins(self, admin: Admin) -> None:
        await admin.call("POST", "/models", MODEL)
        await admin.add(llm_job("talk", modelSource=None, vramGbEstimate=1.0))

        assert (await admin.job("talk"))["vramGbEstimate"] == 1.0

    async def test_a_model_of_another_kind_is_refused(self, admin: Admin) -> None:
        await admin.call("POST", "/models", MODEL)

        status, said = await admin.call("POST", "/jobs", image_job("fox", model="talker", modelSource=None))

        assert (status, said["field"]) == (400, "task.kind")

    async def test_a_model_that_is_switched_off_is_refused(self, admin: Admin) -> None:
        await admin.call("POST", "/models", MODEL | {"enabled": False})

        status, said = await admin.call("POST", "/jobs", llm_job("talk", modelSource=None))

        assert (status, said["field"]) == (400, "model")


async def test_every_answer_of_the_api_forbids_caching_and_sniffing(admin: Admin) -> None:
    async with admin.http.get(admin.base + "/jobs", headers=admin.headers) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_unknown_route_and_a_wrong_method_answer_in_json(admin: Admin) -> None:
    assert (await admin.call("GET", "/nowhere"))[0] == 404
    status, said = await admin.call("PATCH", "/jobs")
    assert status == 405
    assert "error" in said
