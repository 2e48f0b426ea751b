"""One look at a worker."""

from __future__ import annotations

import json
import os

from studio_worker import Worker
from studio_worker.config import Config
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Routes
from studio_worker.machine import Machine
from studio_worker.status import snapshot
from studio_worker.version import __version__
from studio_worker.wire.kinds import TaskKind

PAINTER = EngineDescription(name="painter", models={TaskKind.IMAGE: ("painter:*",)}, sources=("paint",))
ILL = EngineDescription(name="ill", status="unavailable", reason="no driver", remedy="install one")


def look(**given):
    return snapshot(Config(**given), Machine("m", "u", (8.12345,)), (PAINTER, ILL), Routes.build((PAINTER, ILL)), None)


def test_before_the_start_it_says_who_the_worker_is_and_nothing_of_jobs(tmp_path):
    seen = look(state_dir=tmp_path, api_base_url="https://studio.example/", vram_threshold_gb=4.0)
    assert seen == {
        "version": __version__,
        "pid": os.getpid(),
        "configPath": None,
        "stateDir": str(tmp_path),
        "apiBaseUrl": "https://studio.example/",
        "vramTotalGb": 8.123,
        "vramThresholdGb": 4.0,
        "kinds": ["image"],
        "engines": [
            {"name": "painter", "status": "available", "reason": ""},
            {"name": "ill", "status": "unavailable", "reason": "no driver"},
        ],
    }


def test_the_config_file_is_named_where_there_is_one(tmp_path):
    assert look(config_path=tmp_path / "config.toml")["configPath"] == str(tmp_path / "config.toml")


def test_secrets_of_the_settings_are_not_shown():
    seen = look(hf_token="hf_canary", plugins={"acme": {"key": "canary"}})
    assert "canary" not in json.dumps(seen)


async def test_an_idle_worker_is_neither_paused_nor_busy_nor_draining(settings):
    async with Worker(settings()) as worker:
        seen = worker.status()
    assert [seen[key] for key in ("paused", "busy", "draining", "currentJobId")] == [False, False, False, None]
    assert (seen["activeJobs"], seen["deliveries"]) == ([], {"pending": 0, "waiting": 0})


async def test_engines_that_are_left_alone_on_a_model_are_shown(settings, gate):
    async with Worker(settings(), engines=[gate]) as worker:
        assert worker.status()["quarantined"] == []
        (own,) = [engine for engine in worker.engines if engine.name == "gate"]
        for _ in range(3):
            worker._book.quarantine.died(own, "m")
        (pair,) = worker.status()["quarantined"]
        assert 0 < pair.pop("retryInSecs") <= 300
        assert pair == {"engine": "gate", "model": "m", "deaths": 3}


async def test_a_running_local_job_is_shown_and_is_not_the_studios_current_one(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words("secret words"), model="gate-llm")
        await soon(gate.entered.get())
        await soon(anext(job))
        seen = worker.status()
        gate.opened.set()
    (active,) = seen["activeJobs"]
    assert active.pop("seconds") >= 0
    assert active == {
        "jobId": job.id,
        "kind": "llm",
        "model": "gate-llm",
        "engine": "gate",
        "origin": "local",
        "progress": {"step": 1, "total": 2, "stage": "wait"},
    }
    assert (seen["busy"], seen["currentJobId"]) == (True, None)
    assert "secret words" not in json.dumps(seen)


async def test_a_worker_that_has_ended_is_shown_as_draining_and_idle(settings):
    async with Worker(settings()) as worker:
        pass
    seen = worker.status()
    assert (seen["draining"], seen["busy"]) == (True, False)
    assert json.loads(json.dumps(seen)) == seen


async def test_how_long_jobs_take_is_shown(settings, gate, words):
    gate.opened.set()
    async with Worker(settings(), engines=[gate]) as worker:
        for _ in range(2):
            await worker.submit(words(), model="gate-llm")
        (speed,) = worker.status()["speeds"]
    assert (speed["engine"], speed["kind"], speed["model"], speed["jobs"]) == ("gate", "llm", "gate-llm", 2)


async def test_what_one_worker_has_measured_the_next_one_knows(settings, gate, words):
    gate.opened.set()
    fields = settings()
    async with Worker(fields, engines=[gate]) as worker:
        await worker.submit(words(), model="gate-llm")
        before = worker.status()["speeds"]
    async with Worker(fields, engines=[gate]) as worker:
        assert worker.status()["speeds"] == before
        await worker.submit(words(), model="gate-llm")
        (speed,) = worker.status()["speeds"]
    assert speed["jobs"] == 2
