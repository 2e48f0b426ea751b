"""Faults F-20 to F-29, F-38, F-39 and F-42: a studio that restarts, repeats itself, forgets, floods and lies."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct

import psutil
import pytest

from studio_worker.testing.scripted_session import ScriptedSession

from .conftest import LogLines, Site, Start, picture, words


@pytest.mark.parametrize("forgets", [False, True], ids=["remembers", "forgets"])
async def test_a_studio_that_restarts_in_mid_upload_job_has_one_result(start: Start, forgets: bool) -> None:
    async with start(is_proxied=False) as site:
        studio = site.studio
        site.engine.open.clear()
        await studio.offer(picture("job-1"))
        await studio.frame("accept", job_id="job-1")
        await studio.stop()
        if forgets:
            studio.drop_claims()
        site.engine.open.set()
        await site.until(lambda: site.worker.status()["deliveries"]["pending"] == 1, "the result")
        await studio.start()
        upload = await studio.upload("job-1")
        await site.until(lambda: not site.worker.status()["deliveries"]["pending"], "the settlement")

        assert upload.status == (404 if forgets else 200)
        assert len(studio.uploads) == 1
        assert site.engine.runs == {"job-1": 1}
        assert studio.of_type("fail") == []
        assert studio.violations == []


async def test_a_studio_that_restarts_in_mid_job_gets_a_json_result_when_it_offers_again(start: Start) -> None:
    async with start(is_proxied=False) as site:
        studio = site.studio
        site.engine.open.clear()
        await studio.offer(words("job-1"))
        await studio.frame("accept", job_id="job-1")
        await studio.stop()
        site.engine.open.set()
        await site.until(lambda: site.worker.status()["deliveries"]["waiting"] == 1, "the kept result")
        await studio.start()
        await studio.heartbeat()
        assert studio.of_type("completeJson") == []
        await studio.offer(words("job-1"))
        await site.settled("job-1")

        assert site.engine.runs == {"job-1": 1}
        assert studio.violations == []


async def test_the_same_offer_twice_at_once_is_one_run(site: Site) -> None:
    offer = json.dumps({"type": "offer", "claim": words("job-1")})
    site.studio.session.offered.add("job-1")

    async def accepts_twice(session: ScriptedSession, frame) -> bool:
        if frame.type == "accept":
            session.held.add("job-1")
        return frame.type == "accept"

    site.studio.on_frame = accepts_twice
    await asyncio.gather(site.studio.session.send_text(offer), site.studio.session.send_text(offer))
    await site.studio.frame("accept", job_id="job-1", nth=2)
    await site.settled("job-1")

    assert site.engine.runs == {"job-1": 1}
    assert len(site.studio.of_type("completeJson")) == 1


async def test_an_offer_of_a_running_job_after_a_lost_session_is_adopted(site: Site) -> None:
    site.engine.open.clear()
    await site.studio.offer(words("job-1"))
    await site.engine.entered.get()
    site.proxy.cut_all()
    await site.studio.welcomed(2)
    await site.studio.offer(words("job-1"))
    await site.studio.frame("accept", job_id="job-1", nth=2)
    site.engine.open.set()
    await site.settled("job-1")

    assert site.engine.runs == {"job-1": 1}
    assert site.studio.of_type("completeJson")[0].session == 2


async def test_a_kept_result_answers_its_own_task_and_no_other(site: Site) -> None:
    site.engine.open.clear()
    await site.studio.offer(words("job-1"))
    await site.engine.entered.get()
    site.proxy.cut_all()
    await site.studio.welcomed(2)
    site.engine.open.set()
    await site.until(lambda: site.worker.status()["deliveries"]["waiting"] == 1, "the kept result")

    await site.studio.offer(words("job-1", "Say something else."))
    done = await site.studio.frame("completeJson", job_id="job-1")
    assert done["prompt"] == "Say something else."
    assert site.engine.runs == {"job-1": 2}


@pytest.mark.parametrize("state", ["busy", "paused", "draining"])
async def test_an_offer_that_cannot_be_taken_is_rejected_with_its_code_and_never_failed(site: Site, state: str) -> None:
    site.engine.open.clear()
    leaving = None
    if state != "paused":
        await site.studio.offer(words("job-1"))
        await site.engine.entered.get()
    if state == "paused":
        site.worker.pause()
    elif state == "draining":
        leaving = asyncio.create_task(site.worker.drain())
        await site.until(lambda: site.worker.status()["draining"], "the drain")
    await site.studio.offer(words("job-2"))
    reject = await site.studio.frame("reject", job_id="job-2")

    assert reject["code"] == ("busy" if state == "busy" else "paused")
    assert site.studio.of_type("fail") == []
    assert "job-2" not in site.engine.runs
    site.engine.open.set()
    if leaving is not None:
        await leaving


async def test_acknowledgements_that_never_come_come_twice_or_are_strange_lose_nothing(
    site: Site, log_lines: LogLines
) -> None:
    studio = site.studio
    studio.withhold = {"completeAck"}
    await studio.offer(words("job-1"))
    await studio.frame("completeJson", job_id="job-1")
    await site.until(lambda: site.worker.status()["deliveries"]["waiting"] == 1, "a result without its ack")
    for job_id in ("stranger", "job-1", "job-1"):
        await studio.session.send({"type": "completeAck", "jobId": job_id})
    await site.until(lambda: not site.worker.status()["deliveries"]["waiting"], "the acknowledgement")
    beat = await studio.heartbeat()

    assert [record["extra"]["job_id"] for record in log_lines.of("jobs.ack")] == ["stranger", "job-1"]
    assert beat.session == 1
    assert site.engine.runs == {"job-1": 1}


async def test_a_flood_of_frames_stops_neither_heartbeats_nor_jobs_and_fills_no_memory(site: Site) -> None:
    studio = site.studio
    site.engine.open.clear()
    await studio.offer(words("job-1"))
    await site.engine.entered.get()
    memory = psutil.Process().memory_info().rss
    noise = [json.dumps({"type": kind, "jobId": f"x-{kind}"}) for kind in ("heartbeatAck", "completeAck", "news")]
    seen = len(studio.of_type("heartbeat"))
    sent = 0
    async with asyncio.timeout(15):
        while sent < 100_000 or len(studio.of_type("heartbeat")) < seen + 5:
            for _ in range(500):
                sent += 1
                await studio.session.send_text(noise[sent % 3])
            await asyncio.sleep(0)
    site.engine.open.set()
    await site.settled("job-1")

    beats = studio.of_type("heartbeat")[seen:]
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(beats)]
    assert sent >= 100_000
    assert len(gaps) >= 4
    assert max(gaps) < 1.0
    assert {beat.session for beat in beats} == {1}
    assert psutil.Process().memory_info().rss - memory < 64 * 1024 * 1024


@pytest.mark.parametrize(
    "breach",
    [
        pytest.param(b"\x81\x7f" + struct.pack(">Q", 2**63), id="a declared length of 2^63"),
        pytest.param(b"\x81\x7f" + struct.pack(">Q", 64 * 1024**2) + b"x" * 100_000, id="a frame of 64 MiB"),
        pytest.param(b"\xc1\x02{}", id="a reserved bit"),
        pytest.param(b"\x81\x02\xff\xfe", id="invalid UTF-8"),
        pytest.param(b"\x89\x7e\x00\x7e" + b"x" * 126, id="a ping of 126 bytes"),
        pytest.param(b"\x09\x01x", id="a fragmented ping"),
        pytest.param(b"\x88\x01x", id="a close of one byte"),
    ],
)
async def test_a_breach_of_the_websocket_rules_costs_a_session_and_no_running_job(site: Site, breach: bytes) -> None:
    site.engine.open.clear()
    await site.studio.offer(words("job-1"))
    await site.engine.entered.get()
    await site.studio.session.send_raw(breach)
    await site.studio.welcomed(2)
    await site.studio.offer(words("job-1"))
    await site.studio.frame("accept", job_id="job-1", nth=2)
    site.engine.open.set()
    await site.settled("job-1")

    assert site.engine.runs == {"job-1": 1}


async def test_an_offer_that_breaks_the_link_three_times_running_is_set_aside_for_others(site: Site) -> None:
    studio = site.studio
    site.engine.open.clear()
    for number in (1, 2, 3):
        session = await studio.welcomed(number)
        await session.offer(words("poison"))
        await studio.frame("accept", job_id="poison", nth=number)
        await session.send_raw(b"\xc1\x02{}")
    session = await studio.welcomed(4)
    await session.offer(words("poison"))
    reject = await studio.frame("reject", job_id="poison")
    site.engine.open.set()
    await site.until(lambda: not site.worker.status()["busy"], "a free seat")
    await session.offer(words("job-1"))
    await site.settled("job-1")

    assert "three times" in reject["reason"]
    assert studio.frames[-1].session == 4


async def test_a_studio_ten_years_off_is_one_warning_and_no_more(start: Start, log_lines: LogLines) -> None:
    async with start() as site:
        site.studio.server_time = "2036-01-01T00:00:00Z"
        await site.studio.welcomed()
        site.proxy.cut_all()
        await site.studio.welcomed(2)
        site.proxy.cut_all()
        await site.studio.welcomed(3)
        await site.studio.offer(words("job-1"))
        await site.settled("job-1")

    assert len(log_lines.of("session.skew")) == 1
