"""What the dashboard's parts say, as HTML over HTTP; a browser's view of them is tested apart."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from html import unescape
from typing import Any

import aiohttp
import pytest

from studio_worker.studio.page_views import SHOWN_PENDING
from studio_worker.studio.pages import PARTS
from studio_worker.studio.server import StudioServer
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, capabilities, image_job, llm_job, registration

MakeWorker = Callable[..., Awaitable[RawWorker]]
EVIL = "<img src=x onerror=alert(1)>\"'&"


class Dashboard:
    """A signed-in reader of parts."""

    def __init__(self, http: aiohttp.ClientSession, studio: StudioServer) -> None:
        self.http = http
        self.studio = studio

    async def part(self, name: str) -> str:
        async with self.http.get(f"{self.studio.url}/parts/{name}") as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/html"
            return await response.text()

    async def words(self, name: str) -> str:
        """The part's text, without its markup."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", await self.part(name))).split())


@pytest.fixture
async def dashboard(studio: StudioServer) -> AsyncIterator[Dashboard]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(studio.login_url()) as response:
            assert response.status == 200
        yield Dashboard(http, studio)


async def ask_in(admin: Admin, **caps: Any) -> None:
    async with admin.http.post(admin.base + "/workers/register-request", json=registration(**caps)) as answer:
        assert answer.status == 200


async def finish(worker: RawWorker, data: bytes | None = None, result: Any = None) -> None:
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    if data is not None:
        assert (await worker.upload(claim["jobId"], data))[0] == 200
    else:
        await worker.send("completeJson", jobId=claim["jobId"], result=result)
        await worker.receive("completeAck")


async def test_the_page_holds_every_part(dashboard: Dashboard) -> None:
    async with dashboard.http.get(dashboard.studio.url) as response:
        page = await response.text()

    for name in PARTS:
        assert f'data-part="{name}"' in page
    assert "<script>" not in page
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)


async def test_the_page_loads_nothing_from_elsewhere(dashboard: Dashboard) -> None:
    async with dashboard.http.get(dashboard.studio.url) as response:
        page = await response.text()

    assert all(address.startswith("/") for address in re.findall(r'(?:src|href)="([^"#]+)', page))


@pytest.mark.parametrize("name", ["studio.css", "studio.js", "icon.svg"])
async def test_our_own_files_are_served_with_their_types(dashboard: Dashboard, name: str) -> None:
    async with dashboard.http.get(f"{dashboard.studio.url}/static/{name}") as response:
        assert response.status == 200
        assert response.content_type in ("text/css", "text/javascript", "image/svg+xml")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_needs_the_cookie(studio: StudioServer, http: aiohttp.ClientSession, name: str) -> None:
    async with http.get(f"{studio.url}/parts/{name}") as response:
        assert response.status == 401


async def test_empty_parts_say_what_to_do(dashboard: Dashboard) -> None:
    assert "Nothing waits" in await dashboard.words("queue")
    assert "No result yet" in await dashboard.words("results")
    assert "studio-worker run" in await dashboard.words("workers")
    assert dashboard.studio.url in await dashboard.words("workers")
    assert "registry is empty" in await dashboard.words("models")
    assert "No log lines" in await dashboard.words("logs")
    assert await dashboard.words("pending") == ""
    assert await dashboard.words("summary") == "0 workers online 0 queued 0 done"


async def test_the_summary_counts(dashboard: Dashboard, admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("one"))
    await worker.offer()
    await admin.add(llm_job("two"))
    await admin.add(llm_job("three"))
    await admin.call("POST", "/jobs/three/cancel")

    assert await dashboard.words("summary") == "1 worker online 1 queued 1 running 0 done 1 cancelled"


async def test_a_waiting_worker_is_shown_with_its_buttons(dashboard: Dashboard, admin: Admin) -> None:
    await ask_in(admin, machineName="render-7", username="ada", vramTotalGb=24.0)

    words = await dashboard.words("pending")
    page = await dashboard.part("pending")

    for piece in ("render-7", "ada", "24 GB", "127.0.0.1", "picture", "transcript", "Approve", "Reject"):
        assert piece in words
    (waiting,) = await admin.get("/workers/pending")
    assert f'data-post="/workers/pending/{waiting["requestId"]}/approve"' in page


async def test_of_many_that_wait_the_first_are_shown(dashboard: Dashboard, admin: Admin) -> None:
    for number in range(SHOWN_PENDING):
        await ask_in(admin, machineName=f"rig-{number}.")
    assert "More workers wait" not in await dashboard.words("pending")

    await ask_in(admin, machineName="one-too-many")

    words = await dashboard.words("pending")
    assert "rig-0." in words
    assert "one-too-many" not in words
    assert "More workers wait" in words


@pytest.mark.parametrize("field", ["machineName", "username"])
async def test_what_a_waiting_worker_says_is_escaped(dashboard: Dashboard, admin: Admin, field: str) -> None:
    await ask_in(admin, **{field: EVIL})

    assert "<img" not in await dashboard.part("pending")
    assert EVIL in unescape(await dashboard.part("pending"))


async def test_kinds_that_are_not_known_are_shown_escaped(dashboard: Dashboard, admin: Admin) -> None:
    await ask_in(admin, taskKinds=["image", EVIL])

    assert "<img" not in await dashboard.part("pending")


async def test_controls_in_a_name_are_shown_as_text(dashboard: Dashboard, admin: Admin) -> None:
    await ask_in(admin, machineName="a\u202eb\x1b[2J")

    assert "a\\u202eb\\x1b[2J" in await dashboard.words("pending")


async def test_a_queued_job_is_shown_in_the_order_of_offers(dashboard: Dashboard, admin: Admin) -> None:
    for job_id in ("first", "second", "third"):
        await admin.add(llm_job(job_id))

    words = await dashboard.words("queue")

    assert words.index("first") < words.index("second") < words.index("third")
    assert "no worker serves it" in words


async def test_a_running_job_is_shown_before_those_that_wait(
    dashboard: Dashboard, admin: Admin, make_worker: MakeWorker
) -> None:
    await admin.add(llm_job("waits"))
    await admin.add(image_job("runs"))
    worker = await (await make_worker()).connect(taskKinds=["image"])
    await worker.offer()
    await worker.send("accept", jobId="runs")
    await worker.send("progress", jobId="runs", step=7, total=20, stage="denoise")
    await worker.beat(taskKinds=["image"])
    await worker.receive("heartbeatAck")

    words = await dashboard.words("queue")
    page = await dashboard.part("queue")

    assert words.index("runs") < words.index("waits")
    assert "denoise 7 / 20" in words
    assert "bench-1" in words
    assert re.search(r'<progress max="20" value="7"', page)


async def test_progress_without_a_total_has_no_number(dashboard: Dashboard, admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("accept", jobId="fox")
    await worker.send("progress", jobId="fox", step=0, total=0, stage="loading")
    await worker.nothing()

    assert "loading" in await dashboard.words("queue")
    assert "value=" not in await dashboard.part("queue")


async def test_a_step_past_the_total_fills_the_bar_and_no_more(
    dashboard: Dashboard, admin: Admin, worker: RawWorker
) -> None:
    await admin.add(image_job("fox"))
    await worker.offer()
    await worker.send("progress", jobId="fox", step=99, total=20, stage="x")
    await worker.nothing()

    assert 'value="20"' in await dashboard.part("queue")


async def test_a_failed_try_is_shown_with_its_error(dashboard: Dashboard, admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.beat(autoEnabled=False)
    await worker.send("fail", jobId="talk", error=f"out of memory {EVIL}", retryable=True)
    await worker.receive("failAck")

    page = await dashboard.part("queue")

    assert "1 failed try" in unescape(page)
    assert f"out of memory {EVIL}" in unescape(page)
    assert "<img" not in page


async def test_controls_in_what_is_said_of_a_job_are_shown_as_text(
    dashboard: Dashboard, admin: Admin, worker: RawWorker
) -> None:
    wild, shown = "a\u202eb\x1b[2J\nc", "a\\u202eb\\x1b[2J\\nc"
    source = {"engine": "synthetic", "files": [], "cliDefaults": {}}
    await admin.add(llm_job("talk", model=wild, modelSource=source))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.send("progress", jobId="talk", step=1, total=4, stage=wild)
    await worker.nothing()
    assert (await dashboard.words("queue")).count(shown) == 2

    await worker.beat(autoEnabled=False)
    await worker.send("fail", jobId="talk", error=f"tried {wild}", retryable=True)
    await worker.receive("failAck")
    assert f"tried {shown}" in await dashboard.words("queue")

    await worker.beat()
    await worker.offer()
    await worker.send("accept", jobId="talk", attempt=2)
    await worker.send("fail", jobId="talk", error=f"failed {wild}", retryable=False)
    await worker.receive("failAck")
    words = await dashboard.words("results")
    assert f"failed {shown}" in words
    assert not set("\u202e\x1b") & set(words)


@pytest.mark.parametrize(
    ("data", "tag"),
    [
        (PNG, "<img"),
        (b"RIFF\0\0\0\0WAVEfmt ", "<audio"),
        (b"\0\0\0\x20ftypisom", "<video"),
        (b"<script>alert(1)</script>", "<a"),
    ],
    ids=["picture", "sound", "video", "unknown"],
)
async def test_a_result_is_shown_by_what_it_is(
    dashboard: Dashboard, admin: Admin, worker: RawWorker, data: bytes, tag: str
) -> None:
    await admin.add(image_job("fox"))
    await finish(worker, data)

    page = await dashboard.part("results")

    assert tag in page
    assert "<script" not in page
    (address,) = set(re.findall(r'src="(/graphics/[^"]+)"', page)) or set(re.findall(r'href="(/graphics/[^"]+)"', page))
    async with dashboard.http.get(dashboard.studio.url + address) as response:
        assert await response.read() == data


async def test_a_text_is_shown_escaped(dashboard: Dashboard, admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await finish(worker, result={"choices": [{"message": {"content": EVIL}}]})

    page = await dashboard.part("results")

    assert EVIL in unescape(page)
    assert "<img" not in page


async def test_a_prompt_is_shown_escaped(dashboard: Dashboard, admin: Admin) -> None:
    await admin.add(image_job("fox", task={"kind": "image", "prompt": EVIL}, model=EVIL))

    page = await dashboard.part("queue")

    assert page.count("&lt;img") >= 2
    assert "<img" not in page


async def test_a_failed_job_is_shown_with_a_retry(dashboard: Dashboard, admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await worker.offer()
    await worker.send("accept", jobId="talk")
    await worker.send("fail", jobId="talk", error="no engine", retryable=False)
    await worker.receive("failAck")

    assert "no engine" in await dashboard.words("results")
    assert 'data-post="/jobs/talk/retry"' in await dashboard.part("results")


async def test_workers_online_come_first(dashboard: Dashboard, admin: Admin, make_worker: MakeWorker) -> None:
    await make_worker(machineName="away")
    here = await (await make_worker()).connect(machineName="here", maxConcurrentJobs=3)

    words = await dashboard.words("workers")
    await here.close()

    assert words.index("here") < words.index("away")
    assert "idle" in words
    assert "offline" in words
    assert "never connected" in words
    assert "3 slots" in words


async def test_a_worker_in_trouble_says_so(dashboard: Dashboard, worker: RawWorker) -> None:
    await worker.send("heartbeat", capabilities=capabilities(), health={"ready": False, "detail": f"too hot {EVIL}"})
    await worker.receive("heartbeatAck")

    assert "too hot" in await dashboard.words("workers")
    assert "<img" not in await dashboard.part("workers")


async def test_models_are_shown_in_words(dashboard: Dashboard, admin: Admin) -> None:
    await admin.call("POST", "/models", {"id": EVIL, "kind": "audio_tts", "engine": "piper", "enabled": False})

    words = await dashboard.words("models")

    assert "speech · piper · switched off" in words
    assert "<img" not in await dashboard.part("models")


async def test_log_lines_are_shown_newest_first(dashboard: Dashboard, worker: RawWorker) -> None:
    lines = [
        {"ts": "2026-01-01T10:20:30.000Z", "level": "info", "category": "jobs", "message": "older"},
        {"ts": "2026-01-01T10:20:31.000Z", "level": "error", "category": "jobs", "message": f"newer {EVIL}"},
    ]
    await worker.send("logBatch", entries=lines)
    await worker.nothing()

    words = await dashboard.words("logs")
    page = await dashboard.part("logs")

    assert words.index("newer") < words.index("older")
    assert "10:20:31" in words
    assert "bench-1" in words
    assert 'class="is-error"' in page
    assert "<img" not in page


async def test_a_line_of_a_removed_worker_is_still_shown(dashboard: Dashboard, admin: Admin, worker: RawWorker) -> None:
    await worker.send("logBatch", entries=[{"ts": "t", "level": "info", "category": "", "message": "farewell"}])
    await worker.nothing()
    await admin.call("DELETE", f"/workers/{worker.worker_id}")

    assert "a removed worker farewell" in await dashboard.words("logs")
