"""A worker whose engine keeps dying: the job fails, the worker goes on, and the pair gets a rest."""

import asyncio

import aiohttp
import pytest

from studio_worker import Worker
from studio_worker.errors import EngineError
from studio_worker.studio.server import StudioServer
from studio_worker.testing.raw_worker import Admin, llm_job
from studio_worker.wire.model_source import parse_model_source

DYING = """
import os

from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind


class DyingEngine(Engine):
    name = "dying"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["dying:*"]})

    def run(self, job):
        if job.model == "deadly":
            os._exit(3)
        message = {"role": "assistant", "content": "alive"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


def make():
    return DyingEngine()
"""


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """The engine's factory by name, so that it gets a process."""
    (tmp_path / "dying_engine.py").write_text(DYING)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "dying_engine:make"


async def test_a_model_on_which_an_engine_dies_three_times_is_refused_and_others_are_served(settings, words, dying):
    source = parse_model_source({"engine": "dying"})
    async with Worker(settings(), engines=[dying]) as worker:
        for _ in range(3):
            with pytest.raises(EngineError, match="exit status 3"):
                await worker.submit(words(), model="deadly", source=source)
        with pytest.raises(EngineError, match="engine 'dying' died 3 times on model 'deadly'") as refused:
            await worker.submit(words(), model="deadly", source=source)
        answer = await worker.submit(words(), model="harmless", source=source)
    assert refused.value.retryable
    assert answer.json["choices"][0]["message"]["content"] == "alive"


SICK = """
import os
from pathlib import Path

from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind

WELL = Path({well!r})
DESCRIBED = WELL.with_name("described")


class SickEngine(Engine):
    name = "sick"
    sources = ("sick",)
    isolation = "process"

    def __init__(self):
        if DESCRIBED.exists() and not WELL.exists():
            os._exit(3)
        DESCRIBED.touch()

    def capabilities(self):
        return EngineCapabilities({{TaskKind.LLM: ["sick:*"]}})

    def run(self, job):
        message = {{"role": "assistant", "content": "well"}}
        usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        choice = {{"index": 0, "message": message, "finish_reason": "stop"}}
        return LlmResult({{"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage}})


def make():
    return SickEngine()
"""


async def ok(worker):
    while worker.readiness().code != "ok":
        await asyncio.sleep(0.01)


async def down(worker):
    while worker.readiness().code != "engine_down":
        await asyncio.sleep(0.01)


async def test_an_engine_that_dies_at_its_start_costs_one_attempt_and_the_queue_waits(
    settings, tmp_path, monkeypatch, soon
):
    well = tmp_path / "well"
    (tmp_path / "sick_engine.py").write_text(SICK.format(well=str(well)))
    monkeypatch.syspath_prepend(str(tmp_path))
    jobs = [f"job-{number}" for number in range(12)]
    others = (*settings().disabled_engines, "synthetic")
    async with (
        StudioServer(tmp_path / "studio", port=0, auto_approve=True) as studio,
        aiohttp.ClientSession() as http,
        Worker(settings(api_base_url=studio.url, disabled_engines=others), engines=["sick_engine:make"]) as worker,
    ):
        admin = Admin(http, studio.url, studio.admin_token)
        for job in jobs:
            source = {"engine": "sick", "files": []}
            await admin.add({**llm_job(job), "modelSource": source})
        await soon(down(worker))
        assert "died once at its start" in worker.readiness().detail
        assert worker.status()["kinds"] == []
        assert "failed" not in {(await admin.job(job))["state"] for job in jobs}
        well.touch()
        for job in jobs:
            await admin.until(job, "done")
        await soon(ok(worker))
        assert sum([(await admin.job(job))["attempts"] for job in jobs]) <= len(jobs) + 2


async def test_without_a_studio_an_engine_that_died_at_its_start_comes_back_by_itself(
    settings, words, tmp_path, monkeypatch, soon
):
    well = tmp_path / "well"
    (tmp_path / "sick_engine.py").write_text(SICK.format(well=str(well)))
    monkeypatch.syspath_prepend(str(tmp_path))
    others = (*settings().disabled_engines, "synthetic")
    async with Worker(settings(disabled_engines=others), engines=["sick_engine:make"]) as worker:
        with pytest.raises(EngineError, match="is gone"):
            await worker.submit(words(), model="m", source=parse_model_source({"engine": "sick"}))
        assert worker.readiness().code == "engine_down"
        assert worker.routes.task_kinds == ()
        await soon(ok(worker))
        assert worker.routes.task_kinds
