"""Faults F-03 to F-06 and F-16: a network that cuts, swallows and flaps, under a whole worker."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Literal

import pytest

from studio_worker.engines.base import EngineJob, LlmResult
from studio_worker.testing.frame_toxics import CutFrame, CutRequest
from studio_worker.testing.records import SeenFrame
from studio_worker.testing.scripted_session import ScriptedSession
from studio_worker.testing.toxics import Swallow

from .conftest import IMPATIENT, QUICK, Site, Start, picture, result_of, words


def offer_until_done(site: Site, claims: dict[str, dict]) -> None:
    """Have the studio offer each job at every welcome until it has its result, as a studio does."""

    async def on_welcome(session: ScriptedSession) -> None:
        for job_id, claim in claims.items():
            if job_id not in site.studio.done:
                await session.offer(claim)

    async def on_frame(session: ScriptedSession, frame: SeenFrame) -> bool:
        # The engine's seat is free when the result before is on the disk: a busy worker is asked again.
        is_busy = frame.type == "reject" and frame.get("code") == "busy" and frame.get("jobId") in claims
        if is_busy:
            await session.offer(claims[frame["jobId"]])
        return is_busy

    site.studio.on_welcome = on_welcome
    site.studio.on_frame = on_frame


@pytest.mark.parametrize("make", [words, picture], ids=["json", "bytes"])
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_reset_after_any_frame_loses_no_job_and_says_nothing_unasked(
    site: Site, way: Literal["up", "down"], make
) -> None:
    claims: dict[str, dict] = {}
    offer_until_done(site, claims)
    cuts = [CutFrame(way=way, number=number) for number in range(1, 9)]
    for cut in cuts:
        job_id = f"job-{cut.number}"
        claims[job_id] = make(job_id)
        site.proxy.toxics = [cut]
        site.proxy.cut_all()
        await site.settled(job_id)
        await site.until(lambda cut=cut: cut.is_done, "the cut")

    assert site.studio.violations == []
    assert all(cut.is_done for cut in cuts)
    assert len(site.proxy.receipts) == len(cuts)
    assert site.studio.of_type("fail") == []
    if make is words:
        assert set(site.engine.runs.values()) == {1}
    else:
        # An offer that is under way while the upload's 2xx is read asks for a new run; the studio takes one of them.
        taken = Counter(upload.job_id for upload in site.studio.uploads if upload.status < 300)
        assert set(taken.values()) == {1}
        assert max(site.engine.runs.values()) <= 2


async def test_a_cut_anywhere_in_a_result_frame_keeps_the_result_for_the_next_offer(site: Site) -> None:
    claims: dict[str, dict] = {}
    offer_until_done(site, claims)
    for offset in range(0, 520, 23):
        job_id = f"job-{offset}"
        claims[job_id] = words(job_id)
        cut = CutFrame(way="up", type="completeJson", at=offset)
        site.proxy.toxics = [cut]
        site.proxy.cut_all(by_reset=bool(offset % 2))
        await site.settled(job_id)
        assert cut.is_done
        assert len(site.studio.of_type("completeJson", job_id=job_id)) in (1, 2)

    assert site.studio.violations == []
    assert set(site.engine.runs.values()) == {1}
    assert len(site.proxy.receipts) == len(claims)


@pytest.mark.parametrize("at", [0, 1, 70_000, 400_000, 999_999, None])
async def test_a_cut_in_a_result_frame_of_a_megabyte_keeps_the_result_too(site: Site, at: int | None) -> None:
    def long_answer(job: EngineJob) -> LlmResult:
        result = result_of(job)
        assert isinstance(result, LlmResult)
        result.json["choices"][0]["message"]["content"] = "x" * 1_000_000
        return result

    site.engine.behave = long_answer
    offer_until_done(site, {"job-1": words("job-1")})
    cut = CutFrame(way="up", type="completeJson", at=at)
    site.proxy.toxics = [cut]
    site.proxy.cut_all()
    await site.settled("job-1")

    assert cut.is_done
    assert site.engine.runs == {"job-1": 1}
    assert site.studio.violations == []


async def test_a_cut_anywhere_in_an_upload_makes_it_again_and_runs_nothing_anew(site: Site) -> None:
    offsets = [0, 1, 40, 200, 300, 400, 500, 600, 700, 800, 900]
    for offset in offsets:
        job_id = f"job-{offset}"
        cut = CutRequest(f"/{job_id}/complete", at=offset, by_reset=bool(offset % 2))
        site.proxy.toxics = [cut]
        site.proxy.cut_all()
        await site.studio.welcomed(len(site.studio.sessions) + 1)
        await site.studio.offer(picture(job_id))
        await site.settled(job_id)
        await site.until(lambda: not site.worker.status()["deliveries"]["pending"], "the answer")
        assert cut.is_done

    assert site.studio.violations == []
    assert site.studio.of_type("fail") == []
    assert set(site.engine.runs.values()) == {1}
    assert [upload.status for upload in site.studio.uploads] == [200] * len(offsets)


async def test_a_half_open_connection_in_mid_job_costs_a_session_and_no_job(start: Start) -> None:
    async with start(timings=IMPATIENT) as site:
        offer_until_done(site, {"job-1": words("job-1")})
        site.engine.open.clear()
        session = await site.studio.welcomed()
        await site.studio.frame("accept", job_id="job-1")
        before = len(site.proxy.receipts)
        site.proxy.freeze()
        site.engine.open.set()
        await site.studio.welcomed(session.number + 1)
        await site.settled("job-1")

        assert [receipt.toxic for receipt in site.proxy.receipts[before:]].count("freeze") >= 1
    assert site.engine.runs == {"job-1": 1}


async def test_sends_that_vanish_while_the_studio_talks_end_the_session_and_lose_no_result(start: Start) -> None:
    async with start(timings=IMPATIENT) as site:
        studio = site.studio
        site.proxy.toxics = [Swallow(after_bytes=2_000, way="up")]
        site.proxy.cut_all()
        offer_until_done(site, {"job-1": words("job-1")})
        site.engine.open.clear()
        await site.studio.frame("accept", job_id="job-1")

        async def chatter() -> None:
            while True:
                if not studio.session.ended.is_set():
                    await studio.session.send({"type": "failAck", "jobId": "x"})
                await asyncio.sleep(0.02)

        talk = asyncio.create_task(chatter())
        await site.until(lambda: site.proxy.receipts, "the swallowing")
        site.engine.open.set()
        site.proxy.toxics = []
        await site.settled("job-1")
        talk.cancel()
        await asyncio.gather(talk, return_exceptions=True)

        assert {(each.toxic, each.way) for each in site.proxy.receipts} == {("swallow", "up")}
    assert site.engine.runs == {"job-1": 1}
    assert studio.violations == []


async def test_two_hundred_cuts_in_mid_work_leak_neither_tasks_nor_descriptors(
    start: Start, record_property: Callable[[str, object], None]
) -> None:
    async with start(timings=replace(QUICK, settled_secs=0.0), reconnect_base_secs=0.001) as site:
        await site.studio.welcomed()
        waits = await flap(site)

    median = statistics.median(waits) / QUICK.heartbeat_secs
    record_property("from a reset to the next welcome, median of 200, in heartbeats", f"{median:.2f}")


async def flap(site: Site) -> list[float]:
    """Two hundred cuts; the seconds from each to the next welcome."""
    waits: list[float] = []
    seed = 16
    rng = Random(seed)
    print(f"seed {seed}")
    claims: dict[str, dict] = {}
    offer_until_done(site, claims)
    for number in range(5):
        claims[f"warm-{number}"] = words(f"warm-{number}")
    site.proxy.cut_all()
    await site.settled("warm-0")
    await site.studio.heartbeat()
    gc.collect()
    descriptors, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
    for number in range(200):
        job_id = f"job-{number}"
        claims.clear()
        claims[job_id] = picture(job_id) if rng.random() < 0.3 else words(job_id)
        sessions = len(site.studio.sessions)
        cut_at = time.monotonic()
        site.proxy.cut_all(by_reset=rng.random() < 0.5)
        await site.studio.welcomed(sessions + 1)
        waits.append(time.monotonic() - cut_at)
        if rng.random() < 0.8:
            await site.studio.frame("accept", job_id=job_id)
    await site.settled("job-199")
    await site.until(lambda: site.worker.status()["deliveries"]["pending"] == 0, "deliveries")
    await site.studio.heartbeat()
    gc.collect()

    assert len(site.studio.sessions) > 200
    assert site.studio.violations == []
    # The ends of the last cuts may still be on their way out.
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 10
    assert len(asyncio.all_tasks()) <= tasks + 10
    return waits
