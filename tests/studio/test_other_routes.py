"""The admin's routes of models, workers and logs."""

from typing import Any

import pytest
from yarl import URL

from studio_worker.studio.timings import Limits
from studio_worker.testing.raw_worker import Admin, RawWorker, image_job

MODEL: dict[str, Any] = {
    "id": "flux/dev:q4",
    "kind": "image",
    "modelSource": {"engine": "sd-cpp", "files": [{"role": "model", "url": "https://x/y", "filename": "y.gguf"}]},
    "vramGbEstimate": 8.0,
}
PATH = "/models/flux%2Fdev:q4"


async def test_a_model_is_added_and_shown(admin: Admin) -> None:
    status, added = await admin.call("POST", "/models", MODEL)

    assert status == 201
    assert added["engine"] == "sd-cpp"
    assert await admin.get("/models") == [added]
    async with admin.http.get(URL(admin.base + PATH, encoded=True), headers=admin.headers) as response:
        assert await response.json() == added


async def test_a_model_is_added_once(admin: Admin) -> None:
    await admin.call("POST", "/models", MODEL)

    assert (await admin.call("POST", "/models", MODEL))[0] == 409


async def test_a_model_is_replaced(admin: Admin) -> None:
    await admin.call("POST", "/models", {"id": "m", "kind": "llm", "engine": "a"})
    status, model = await admin.call("PUT", "/models/m", {"kind": "llm", "engine": "b", "enabled": False})

    assert (status, model["engine"], model["enabled"]) == (200, "b", False)


async def test_a_model_is_added_by_put(admin: Admin) -> None:
    await admin.call("PUT", "/models/m", {"kind": "llm", "engine": "b"})

    assert [model["id"] for model in await admin.get("/models")] == ["m"]


async def test_a_model_is_removed(admin: Admin) -> None:
    await admin.call("POST", "/models", {"id": "m", "kind": "llm", "engine": "a"})

    assert (await admin.call("DELETE", "/models/m"))[0] == 200
    assert (await admin.call("DELETE", "/models/m"))[0] == 404
    assert (await admin.call("GET", "/models/m"))[0] == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"kind": "sculpture"}, "kind"),
        ({"kind": None}, "kind"),
        ({"modelSource": None}, "modelSource.engine"),
        ({"modelSource": {"engine": "../x"}}, "modelSource.engine"),
        ({"engine": "another"}, "engine"),
        ({"vramGbEstimate": -1}, "vramGbEstimate"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
async def test_a_bad_model_is_refused_by_the_name_of_the_field(
    admin: Admin, change: dict[str, Any], field: str
) -> None:
    status, said = await admin.call("POST", "/models", MODEL | change)

    assert (status, said["field"]) == (400, field), said


async def test_a_put_under_another_id_is_refused(admin: Admin) -> None:
    status, said = await admin.call("PUT", "/models/m", {"id": "n", "kind": "llm", "engine": "a"})

    assert (status, said["field"]) == (400, "id")


async def test_a_worker_shows_what_it_runs(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("accept", jobId="fox")

    (shown,) = await admin.get("/workers")

    assert shown["workerId"] == worker.worker_id
    assert (shown["state"], shown["currentJobId"], shown["currentJobIds"]) == ("busy", "fox", ["fox"])
    assert shown["capabilities"]["sources"]["image"] == ["synthetic"]


async def test_an_unknown_worker_is_a_404(admin: Admin) -> None:
    assert (await admin.call("GET", "/workers/unknown"))[0] == 404
    assert (await admin.call("DELETE", "/workers/unknown"))[0] == 404


async def test_a_deleted_workers_claim_goes_back(admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("accept", jobId="fox")
    await admin.call("DELETE", f"/workers/{worker.worker_id}")
    assert await worker.closed() == 4004

    job = await admin.until("fox", "queued")

    assert job["attempts"] == 0
    assert (await worker.upload("fox"))[0] == 401


def entry(message: str, **more: Any) -> dict[str, Any]:
    return {"ts": "2026-01-01T00:00:00.000Z", "level": "info", "category": "jobs", "message": message, **more}


async def test_log_lines_are_kept_in_order(admin: Admin, worker: RawWorker) -> None:
    await worker.send("logBatch", entries=[entry("one", jobId="fox"), entry("two", level="warn")])
    await worker.nothing()

    lines = await admin.get("/logs")

    assert [(line["message"], line["level"], line.get("jobId")) for line in lines] == [
        ("one", "info", "fox"),
        ("two", "warn", None),
    ]
    assert {line["workerId"] for line in lines} == {worker.worker_id}


async def test_log_lines_are_followed_by_their_number(admin: Admin, worker: RawWorker) -> None:
    await worker.send("logBatch", entries=[entry(f"line {n}") for n in range(5)])
    await worker.nothing()
    newest = await admin.get("/logs?limit=2")
    first = (await admin.get("/logs?after=0&limit=1"))[0]

    rest = await admin.get(f"/logs?after={first['seq']}")

    assert [line["message"] for line in newest] == ["line 3", "line 4"]
    assert [line["message"] for line in rest] == ["line 1", "line 2", "line 3", "line 4"]


async def test_log_lines_are_narrowed_by_job_and_worker(admin: Admin, worker: RawWorker) -> None:
    await worker.send("logBatch", entries=[entry("one", jobId="fox"), entry("two", jobId="owl")])
    await worker.nothing()

    assert [line["message"] for line in await admin.get("/logs?jobId=owl")] == ["two"]
    assert len(await admin.get(f"/logs?workerId={worker.worker_id}")) == 2
    assert await admin.get("/logs?workerId=another") == []


async def test_a_log_line_cannot_forge_another(admin: Admin, worker: RawWorker) -> None:
    await worker.send("logBatch", entries=[entry("ok\n2026 ERROR forged\x1b[2J\u202e")])
    await worker.nothing()

    (line,) = await admin.get("/logs")

    assert line["message"] == "ok\\n2026 ERROR forged\\x1b[2J\\u202e"


async def test_an_empty_batch_is_taken(worker: RawWorker, admin: Admin) -> None:
    await worker.send("logBatch", entries=[])
    await worker.nothing()

    assert await admin.get("/logs") == []


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "jobId=%00", "workerId=%0a"])
async def test_a_bad_log_parameter_is_refused(admin: Admin, query: str) -> None:
    async with admin.http.get(URL(f"{admin.base}/logs?{query}", encoded=True), headers=admin.headers) as response:
        assert response.status == 400


class TestLogBound:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(register_requests=100, log_rows=10)

    async def test_the_oldest_lines_go(self, admin: Admin, worker: RawWorker) -> None:
        for batch in range(3):
            await worker.send("logBatch", entries=[entry(f"line {batch}-{n}") for n in range(5)])
        await worker.nothing()

        lines = await admin.get("/logs")

        assert len(lines) == 10
        assert lines[0]["message"] == "line 1-0"
