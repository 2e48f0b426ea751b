"""The dashboard, as a browser shows it."""

import base64
import io
import wave
from typing import Any

import aiohttp
from PIL import Image

from studio_worker.studio.server import StudioServer
from studio_worker.testing.raw_worker import Admin, RawWorker, image_job, llm_job, registration


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(out, "PNG")
    return out.getvalue()


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(b"\0\0" * 8_000)
    return out.getvalue()


async def ask_in(http: aiohttp.ClientSession, studio: StudioServer, **caps: Any) -> str:
    async with http.post(f"{studio.url}/graphics/api/workers/register-request", json=registration(**caps)) as answer:
        return str((await answer.json())["requestId"])


async def serve(worker: RawWorker, data: bytes | None = None, result: Any = None) -> None:
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    if data is not None:
        status, _ = await worker.upload(claim["jobId"], data)
        assert status == 200
    else:
        await worker.send("completeJson", jobId=claim["jobId"], result=result)
        await worker.receive("completeAck")


async def test_a_waiting_worker_is_approved_by_a_click(
    dashboard: Any, http: aiohttp.ClientSession, studio: StudioServer, admin: Admin
) -> None:
    await ask_in(http, studio, machineName="render-7")
    await dashboard.wait_for("document.querySelector('[aria-label=\"Approve render-7\"]')")

    await dashboard.click('[aria-label="Approve render-7"]')

    await dashboard.wait_for("document.querySelector('[data-part=workers]').innerText.includes('render-7')")
    await dashboard.wait_for("!document.querySelector('.ask')")
    assert [one["machineName"] for one in await admin.get("/workers")] == ["render-7"]


async def test_a_waiting_worker_is_rejected_by_a_click(
    dashboard: Any, http: aiohttp.ClientSession, studio: StudioServer, admin: Admin
) -> None:
    await ask_in(http, studio, machineName="stranger")
    await dashboard.wait_for("document.querySelector('[aria-label=\"Reject stranger\"]')")

    await dashboard.click('[aria-label="Reject stranger"]')

    await dashboard.wait_for("!document.querySelector('.ask')")
    assert await admin.get("/workers") == []


async def test_the_queue_moves_without_a_reload(dashboard: Any, admin: Admin) -> None:
    await dashboard.run("window.isSamePage = true")

    await admin.add(image_job("later"))

    await dashboard.wait_for("document.querySelector('#job-later')?.innerText.includes('A fox')")
    await dashboard.click('[aria-label="Cancel later"]')
    await dashboard.wait_for("document.querySelector('#result-later')?.innerText.includes('cancelled')")
    assert await dashboard.run("return window.isSamePage === true")


async def test_a_job_that_nobody_serves_says_so(dashboard: Any, admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("strange", modelSource={"engine": "abacus", "files": []}))

    await dashboard.wait_for("document.querySelector('#job-strange .state')?.innerText === 'no worker serves it'")


async def test_a_sound_goes_on_while_other_results_come_in(dashboard: Any, admin: Admin, worker: RawWorker) -> None:
    await admin.add({**image_job("word"), "task": {"kind": "audio_tts", "text": "Good evening"}})
    await serve(worker, sound())
    await dashboard.wait_for("document.querySelector('#result-word audio')")
    await dashboard.run("document.querySelector('#result-word audio').isSame = true")

    await admin.add(image_job("fox"))
    await serve(worker, picture(40, 30))
    await dashboard.wait_for("document.querySelector('#result-fox')")

    assert await dashboard.run("return document.querySelector('#result-word audio').isSame === true")


async def test_a_running_job_shows_its_progress_and_its_preview(
    dashboard: Any, admin: Admin, worker: RawWorker
) -> None:
    await admin.add(image_job("fox"))
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    preview = base64.b64encode(picture(64, 48)).decode()
    await worker.send("progress", jobId="fox", step=7, total=20, stage="denoise", preview=preview)

    await dashboard.wait_for("document.querySelector('#job-fox progress')?.value === 7")
    await dashboard.wait_for("document.querySelector('#job-fox img')?.naturalWidth === 64")


async def test_a_finished_picture_is_shown(dashboard: Any, admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await serve(worker, picture(40, 30))

    width = await dashboard.wait_for("document.querySelector('#result-fox img')?.naturalWidth")

    assert width == 40


async def test_a_finished_sound_can_be_played(dashboard: Any, admin: Admin, worker: RawWorker) -> None:
    await admin.add({**image_job("word"), "task": {"kind": "audio_tts", "text": "Good evening"}})
    await serve(worker, sound())

    secs = await dashboard.wait_for("document.querySelector('#result-word audio')?.duration")

    assert round(secs) == 1


async def test_a_finished_text_is_shown(dashboard: Any, admin: Admin, worker: RawWorker) -> None:
    await admin.add(llm_job("talk"))
    await serve(worker, result={"choices": [{"message": {"role": "assistant", "content": "Good evening."}}]})

    await dashboard.wait_for("document.querySelector('#result-talk blockquote')?.innerText === 'Good evening.'")


async def test_markup_in_a_machine_name_is_shown_and_never_run(
    dashboard: Any, http: aiohttp.ClientSession, studio: StudioServer
) -> None:
    name = "<img src=x onerror=\"document.title='run'\">"
    await ask_in(http, studio, machineName=name)

    shown = await dashboard.wait_for("document.querySelector('.ask h2')?.innerText")

    assert name in shown
    assert await dashboard.run("return document.querySelectorAll('.ask img').length") == 0
    assert await dashboard.run("return document.title") == "Studio"


async def test_the_page_breaks_no_content_security_policy(dashboard: Any, admin: Admin, worker: RawWorker) -> None:
    await admin.add(image_job("fox"))
    await serve(worker, picture(40, 30))
    await dashboard.wait_for("document.querySelector('#result-fox img')?.naturalWidth")

    assert await dashboard.console() == []


async def test_a_job_is_queued_from_the_page(dashboard: Any, admin: Admin) -> None:
    await dashboard.type("#prompt", "A lighthouse")
    await dashboard.click("#new-job button")

    await dashboard.wait_for("document.querySelector('.job')?.innerText.includes('A lighthouse')")
    assert [job["task"]["prompt"] for job in await admin.get("/jobs")] == ["A lighthouse"]


async def test_each_part_says_what_to_do_while_it_is_empty(dashboard: Any, studio: StudioServer) -> None:
    for part in ("queue", "results", "workers", "models", "logs"):
        assert await dashboard.text(f"[data-part={part}] .empty"), part
    assert studio.url in await dashboard.text("[data-part=workers]")


async def test_a_narrow_screen_needs_no_sideways_scrolling(
    dashboard: Any, http: aiohttp.ClientSession, studio: StudioServer, admin: Admin, worker: RawWorker
) -> None:
    await ask_in(http, studio, machineName="a-machine-with-a-very-long-name-" * 3)
    await admin.add(image_job("fox"))
    await serve(worker, picture(40, 30))
    await dashboard.ask("POST", "/window/rect", {"width": 500, "height": 800})
    await dashboard.wait_for("document.querySelector('#result-fox img')?.naturalWidth")

    assert await dashboard.run("return document.documentElement.scrollWidth <= innerWidth")


async def test_the_token_form_opens_the_dashboard_and_keeps_the_token_out_of_the_address(
    page: Any, studio: StudioServer
) -> None:
    await page.open(studio.url)
    await page.type("#token", studio.admin_token)
    await page.click("form button")

    await page.wait_for("document.getElementById('live')?.dataset.state === 'on'")
    assert await page.run("return location.href") == f"{studio.url}/"
    assert await page.run("return document.cookie") == ""


async def test_a_sign_in_link_works_once(page: Any, studio: StudioServer) -> None:
    link = studio.login_url()
    await page.open(link)
    await page.wait_for("document.getElementById('live')")
    await page.ask("DELETE", "/cookie")

    await page.open(link)

    assert "used before" in await page.text("form")


async def test_signing_out_leads_to_the_form(dashboard: Any) -> None:
    await dashboard.click("header form button")

    await dashboard.wait_for("document.getElementById('token')")
