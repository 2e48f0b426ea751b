"""`run` with the extra `speed`: the same worker on uvloop's event loop."""

from __future__ import annotations

import signal

import pytest

from studio_worker.testing.claims import claim, image_claim, llm_claim


@pytest.fixture
def with_uvloop(site):
    (site / "uvloop.py").unlink()


def painting(job_id, **task):
    fields = {"kind": "image", "prompt": "a cup", "width": 32, "height": 24, "ext": "png", **task}
    return claim(fields, job_id, engine="acme-paint", model="acme")


async def test_a_worker_without_the_extra_runs_on_pythons_own_loop(start_run, studio):
    worker = await start_run("--log-level", "debug")
    assert "loop=asyncio" in await worker.says("The event loop is made")
    await studio.welcomed()
    worker.signal(signal.SIGTERM)
    assert await worker.code() == 0


async def test_on_uvloop_jobs_run_in_the_worker_and_in_processes_and_are_delivered(with_uvloop, start_run, studio):
    worker = await start_run("--log-level", "debug")
    assert "loop=uvloop" in await worker.says("The event loop is made")
    for offer, ending in ((llm_claim("words"), "completeJson"), (image_claim("picture"), ""), (painting("paint"), "")):
        await studio.offer(offer)
        await (studio.frame(ending, job_id=offer["jobId"]) if ending else studio.upload(offer["jobId"]))
    worker.signal(signal.SIGINT)
    assert await worker.code() == 0


async def test_on_uvloop_signals_drain_then_cancel_while_an_engine_works(with_uvloop, start_run, studio):
    worker = await start_run()
    hour = {"kind": "llm", "messages": [{"role": "user", "content": "3600"}]}
    await studio.offer(claim(hour, "long", engine="acme-sleep"))
    await studio.frame("accept", job_id="long")
    for step in (1, 2):
        worker.signal(signal.SIGTERM)
        await worker.says(f"step={step}")
    assert (await studio.frame("fail", job_id="long"))["retryable"] is True
    assert await worker.code() == 0


async def test_on_uvloop_an_engine_that_dies_costs_one_job(with_uvloop, start_run, studio, site):
    worker = await start_run()
    plugin = site / "studio_worker_acme.py"
    sound = plugin.read_text()
    plugin.write_text(sound.replace('job.loaded["loads"] += 1', "import os; os.kill(os.getpid(), 9)"))
    await studio.offer(painting("dies"))
    assert "SIGKILL" in (await studio.frame("fail", job_id="dies"))["error"]
    plugin.write_text(sound)
    await studio.offer(painting("lives"))
    await studio.upload("lives")
    worker.signal(signal.SIGTERM)
    assert await worker.code() == 0
