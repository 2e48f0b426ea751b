"""Faults F-10 and F-30 to F-34: a studio that takes a result late, twice, or in strange words."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web

from studio_worker.testing import answers
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.testing.toxics import Throttle

from .conftest import LogLines, Site, Start, picture


def uploads_asked(site: Site) -> int:
    return len([request for request in site.studio.requests if request.path.endswith("/complete")])


async def is_idle(site: Site) -> None:
    """Wait until nothing is owed any more."""

    def settled() -> bool:
        status = site.worker.status()
        return not status["busy"] and status["deliveries"] == {"pending": 0, "waiting": 0}

    await site.until(settled, "an empty desk")


async def test_ten_minutes_of_503_end_in_one_delivery_and_no_second_run(site: Site) -> None:
    site.studio.upload_answers.once(*[503] * 40)
    await site.studio.offer(picture("job-1"))
    await site.settled("job-1")
    await is_idle(site)

    waits = site.clock.asked
    assert uploads_asked(site) == 41
    assert sum(waits) > 240
    assert max(waits) <= 30
    assert [upload.status for upload in site.studio.uploads].count(200) == 1
    assert site.engine.runs == {"job-1": 1}
    assert site.studio.of_type("fail") == []


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("120", 120, 120),
        ("date", 80, 90),
        ("99999999999", 600, 600),
        ("1" * 5_000, 0, 1),
        ("-1", 0, 1),
        ("NaN", 0, 1),
        ("0", 0, 1),
        ("١٢٠", 0, 1),
        ("Wed, 99 Foo 2020", 0, 1),
    ],
)
async def test_a_retry_after_is_honoured_in_range_and_nonsense_is_not(
    site: Site, header: str, low: float, high: float
) -> None:
    if header == "date":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    site.studio.upload_answers.once((429, {}, {"Retry-After": header}))
    before = len(site.clock.asked)
    await site.studio.offer(picture("job-1"))
    await site.settled("job-1")

    assert uploads_asked(site) == 2
    waits = site.clock.asked[before:] or [0.0]
    assert len(waits) == 1
    assert low <= waits[0] <= high
    assert site.engine.runs == {"job-1": 1}


async def test_an_upload_whose_answer_is_cut_is_stored_once_and_settled_by_the_409(site: Site) -> None:
    async def store_and_cut(request: web.Request) -> web.StreamResponse:
        site.studio.done.add("job-1")
        return await answers.reset(request)

    site.studio.upload_answers.once(store_and_cut)
    await site.studio.offer(picture("job-1"))
    await site.until(lambda: uploads_asked(site) == 2, "the second try")
    await is_idle(site)

    assert [upload.status for upload in site.studio.uploads][-1] == 409
    assert site.studio.of_type("fail") == []
    assert site.engine.runs == {"job-1": 1}


async def test_a_kept_result_whose_folder_is_away_during_some_tries_costs_no_second_run(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was unplugged, or whose mount came late."""
    monkeypatch.setattr("studio_worker.jobs.kept_journal.AT_HAND_SECS", 0.001)
    async with start() as site:
        spool = Path(site.worker.status()["stateDir"]) / "spool"
        site.studio.upload_answers.always = 503
        await site.studio.offer(picture("job-1"))
        await site.until(lambda: uploads_asked(site) >= 2, "a try that read the file")
        spool.rename(spool.with_name("away"))
        waits = len(site.clock.asked)
        await site.until(lambda: len(site.clock.asked) >= waits + 3, "some tries that could not")
        spool.with_name("away").rename(spool)
        site.studio.upload_answers.always = None
        await site.settled("job-1")

    assert site.engine.runs == {"job-1": 1}
    assert site.studio.of_type("fail") == []


@pytest.mark.parametrize("status", [400, 403, 410, 413, 415, 422])
async def test_a_refused_upload_is_one_failure_that_names_status_and_reason(site: Site, status: int) -> None:
    site.studio.upload_answers.once((status, "no \x1b[31mroom\nsecond line"))
    await site.studio.offer(picture("job-1"))
    fail = await site.studio.frame("fail", job_id="job-1")
    await is_idle(site)

    assert fail["retryable"] is False
    assert str(status) in fail["error"]
    assert "no \\x1b[31mroom" in fail["error"]
    assert "second line" not in fail["error"]
    assert uploads_asked(site) == 1


@pytest.mark.parametrize("answer", [404, (409, {"reason": "done"}), (409, {"reason": "cancelled"})])
async def test_an_upload_of_a_job_that_is_not_ours_any_more_is_forgotten_without_a_word(site: Site, answer) -> None:
    site.studio.upload_answers.once(answer)
    await site.studio.offer(picture("job-1"))
    await site.until(lambda: uploads_asked(site), "the upload")
    await is_idle(site)

    assert site.studio.of_type("fail") == []
    assert uploads_asked(site) == 1


@pytest.mark.parametrize("answer", [409, (409, {"reason": "other"}), (409, "<html>"), (409, {"reason": 5})])
async def test_a_409_that_does_not_say_why_keeps_the_result_for_the_next_offer(site: Site, answer) -> None:
    site.studio.upload_answers.once(answer)
    await site.studio.offer(picture("job-1"))
    await site.until(lambda: site.worker.status()["deliveries"]["waiting"] == 1, "the kept result")
    await site.studio.offer(picture("job-1"))
    await site.settled("job-1")

    assert site.studio.of_type("fail") == []
    assert site.engine.runs == {"job-1": 1}
    assert uploads_asked(site) == 2


async def test_a_401_asks_the_session_again_and_the_upload_waits_for_its_welcome(site: Site) -> None:
    site.studio.upload_answers.once(401)
    await site.studio.offer(picture("job-1"))
    await site.settled("job-1")
    await is_idle(site)

    assert len(site.studio.sessions) == 2
    assert [upload.status for upload in site.studio.uploads] == [401, 200]
    assert site.engine.runs == {"job-1": 1}
    assert site.studio.of_type("fail") == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirected_upload_is_not_followed_and_not_delivered(site: Site, status: int) -> None:
    async with ScriptedStudio() as thief:
        elsewhere = f"{thief.url}graphics/api/workers/w-1/jobs/job-1/complete"
        site.studio.upload_answers.once((status, "", {"Location": elsewhere}))
        await site.studio.offer(picture("job-1"))
        await site.settled("job-1")

        assert thief.requests == []
    assert [upload.status for upload in site.studio.uploads] == [status, 200]


@pytest.mark.parametrize(
    ("status", "page"),
    [
        pytest.param(407, "Proxy Authentication Required", id="a proxy that wants a password"),
        pytest.param(200, "<!DOCTYPE html><title>Welcome to our Wi-Fi</title>", id="a captive portal"),
    ],
)
async def test_what_somebody_on_the_way_has_answered_costs_no_result(site: Site, status: int, page: str) -> None:
    async def intercepted(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status, text=page, content_type="text/html")

    site.studio.read_uploads = False
    site.studio.upload_answers.once(intercepted, intercepted)
    await site.studio.offer(picture("job-1"))
    await site.settled("job-1")
    await is_idle(site)

    assert uploads_asked(site) == 3
    assert [upload.status for upload in site.studio.uploads] == [200]
    assert site.studio.of_type("fail") == []
    assert site.engine.runs == {"job-1": 1}


async def test_an_endless_answer_is_cut_off_and_decided_by_its_status(site: Site) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        site.studio.done.add("job-1")
        try:
            while True:
                await response.write(b"x" * 65_536)
                sent += 65_536
        except ConnectionError:
            return response

    site.studio.upload_answers.once(endless)
    await site.studio.offer(picture("job-1"))
    await is_idle_after_upload(site)

    assert sent < 64 * 1024 * 1024
    assert uploads_asked(site) == 1
    assert site.studio.of_type("fail") == []


async def is_idle_after_upload(site: Site) -> None:
    await site.until(lambda: uploads_asked(site), "the upload")
    await is_idle(site)


async def test_a_slow_upload_that_moves_is_never_cut_and_heartbeats_go_on_beside_it(start: Start) -> None:
    async with start() as site:
        await site.studio.welcomed()
        site.proxy.toxics = [Throttle(4_000, way="up")]
        await site.studio.offer(picture("job-1"))
        seen = len(site.studio.of_type("heartbeat"))
        await site.settled("job-1")

        assert {receipt.toxic for receipt in site.proxy.receipts} == {"throttle"}
        assert uploads_asked(site) == 1
        assert len(site.studio.of_type("heartbeat")) > seen
    assert len(site.studio.sessions) == 1


async def test_results_wait_within_their_bound_and_the_desk_says_busy_beyond_it(
    start: Start, log_lines: LogLines
) -> None:
    async with start() as site:
        studio = site.studio
        await studio.welcomed()
        held = asyncio.Event()

        async def hold(request: web.Request) -> web.StreamResponse:
            await held.wait()
            return web.json_response({})

        studio.upload_answers.always = hold
        for number in range(1, 4):
            await studio.offer(picture(f"job-{number}"))
            await site.until(
                lambda number=number: site.worker.status()["deliveries"]["pending"] == number, "an upload on its way"
            )
        await studio.offer(picture("job-4"))
        reject = await studio.frame("reject", job_id="job-4")
        held.set()
        await studio.until(lambda: {"job-1", "job-2", "job-3"} <= studio.done, what="all uploads")

    assert reject["code"] == "busy"
    assert site.engine.runs == {"job-1": 1, "job-2": 1, "job-3": 1}
