"""How long jobs take, as it is measured."""

from dataclasses import replace

import pytest

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.speeds import MAX_JOBS, MAX_PAIRS, Speed, Speeds
from studio_worker.errors import BadInput
from studio_worker.wire.kinds import TaskKind

from .runs import in_thread, raising, within

OWL = EngineDescription(name="owl")


def test_the_median_of_each_model_is_told():
    speeds = Speeds()
    for secs in (1.0, 9.0, 2.0):
        speeds.took(OWL, TaskKind.LLM, "b", secs)
    speeds.took(OWL, TaskKind.LLM, "a", 0.12345)
    assert speeds.read() == (
        Speed("owl", TaskKind.LLM, "a", 1, 0.12345),
        Speed("owl", TaskKind.LLM, "b", 3, 2.0),
    )
    assert speeds.read()[0].to_json() == {
        "engine": "owl", "kind": "llm", "model": "a", "jobs": 1, "medianSecs": 0.123,
        "distribution": "", "plugin": "", "environment": "",
    }  # fmt: skip


def test_the_same_engine_of_two_environments_is_measured_twice():
    speeds = Speeds()
    for environment, secs in (("old", 9.0), ("new", 1.0)):
        speeds.took(replace(OWL, environment=environment), TaskKind.LLM, "m", secs)
    assert [(speed.engine, speed.environment, speed.jobs, speed.median_secs) for speed in speeds.read()] == [
        ("owl", "new", 1, 1.0),
        ("owl", "old", 1, 9.0),
    ]


def test_only_the_last_jobs_count():
    speeds = Speeds()
    for secs in [100.0] * MAX_JOBS + [1.0] * MAX_JOBS:
        speeds.took(OWL, TaskKind.LLM, "m", secs)
    (speed,) = speeds.read()
    assert (speed.jobs, speed.median_secs) == (MAX_JOBS, 1.0)


def test_the_model_that_rested_longest_makes_way():
    speeds = Speeds()
    for number in range(MAX_PAIRS):
        speeds.took(OWL, TaskKind.LLM, f"m{number}", 1.0)
    speeds.took(OWL, TaskKind.LLM, "m0", 1.0)
    speeds.took(OWL, TaskKind.LLM, "new", 1.0)
    models = {speed.model for speed in speeds.read()}
    assert len(models) == MAX_PAIRS
    assert {"m0", "new"} <= models
    assert "m1" not in models


async def test_a_job_that_ends_well_is_measured_and_one_that_fails_is_not(bench, toy, answer):
    good = bench.host(toy(in_thread(lambda job: answer)))
    await within(good.run(bench.call(good)))
    (speed,) = good.speeds.read()
    assert (speed.engine, speed.kind, speed.model, speed.jobs) == ("toy", TaskKind.LLM, "toy", 1)
    assert speed.median_secs >= 0
    bad = bench.host(toy(raising(BadInput("no"))))
    with pytest.raises(BadInput):
        await within(bad.run(bench.call(bad)))
    assert bad.speeds.read() == ()
