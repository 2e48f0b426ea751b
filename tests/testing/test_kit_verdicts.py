"""What the kit says of engines whose fault is small, and of what it could not look at."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from broken.good import MAGIC

from studio_worker import LlmTask, SttTask
from studio_worker.testing import RULES, Limits, Outcome, Sample
from studio_worker.testing.claims import hum
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.report import RuleReport
from studio_worker.testing.conformance.subject import Subject

BROKEN = {
    ("keeps-its-size", "leaks_a_little"): r"its memory grew by 4\d MiB over 8 runs of the same job; let go",
    ("frees-its-model", "caches_models"): r"of 4 models that it unloaded, 4 are still there; free in unload\(\)",
    (
        "frees-its-model",
        "keeps_native_models",
    ): r"its memory grew by \d+ MiB over 4 loads and unloads of the same model",
    ("refuses-bad-model", "takes_any_model"): "its jobs come to a result whatever its model's files hold, and without",
    ("refuses-bad-input", "hears_anything"): "an empty file as sound comes to a result: .*raise BadInput",
    ("estimates-bytes", "estimates_kilobytes"): r"estimate\(\) says ram_bytes=7340032000000000; whole bytes are needed",
}
"""What a rule says of an engine that breaks it in a small way."""

SKIPPED = {
    (
        "heeds-cancel",
        "hears_no_cancel",
    ): r"went on for \d\.\d s, to its end, and never asked: give a sample of more than 5 s",
    ("heeds-cancel", "is_reticent"): r"its sample ends in \d\.\d s, before a cancel reaches it: give a longer sample",
    ("progress-is-sane", "is_reticent"): "tells no progress",
    ("meta-is-json", "is_reticent"): r"keeps nothing in job\.meta",
    ("says-why-not", "is_reticent"): "it says that it is available where none of the large libraries is",
    (
        "leaves-loop-free",
        "leaves_loop_free",
    ): r"its sample takes 0\.\d s, and run\(\) kept the event loop for most of it",
    (
        "frees-its-model",
        "good",
    ): "4 loads of a model of 1 kB do not show in the memory of a process: give a sample with a",
}
"""What a rule says where it could not look."""


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    model, sound = tmp_path / "small.bin", tmp_path / "hum.wav"
    model.write_bytes(MAGIC + bytes(1_000))
    sound.write_bytes(hum())
    files = {"model": [model]}
    task = LlmTask(messages=[{"role": "user", "content": "hello there"}])
    return [
        Sample(task=task, model="small", files=files),
        Sample(task=SttTask(input_url="https://x.example/a"), model="small", files=files, inputs={"audio": sound}),
    ]


async def tried(rule: str, engine: Any, samples: list[Sample], **limits: Any) -> RuleReport:
    """One rule on one engine."""
    async with Examination(Subject.of_engine(engine), samples, Limits(**limits)) as examination:
        (found,) = (each for each in RULES if each.id == rule)
        return await examination.try_rule(examination.trials[0], found)


@pytest.mark.parametrize(("rule", "module"), BROKEN)
async def test_a_small_fault_is_found(rule: str, module: str, samples: list[Sample]) -> None:
    report = await tried(rule, f"broken.{module}:make", samples)
    assert report.outcome is Outcome.FAILED, report.message
    assert re.search(BROKEN[rule, module], report.message), report.message


@pytest.mark.parametrize(("rule", "module"), SKIPPED)
async def test_what_was_not_looked_at_has_not_passed(rule: str, module: str, samples: list[Sample]) -> None:
    report = await tried(rule, f"broken.{module}:make", samples)
    assert report.outcome is Outcome.SKIPPED, report.message
    assert re.search(SKIPPED[rule, module], report.message), report.message


async def test_an_object_is_not_said_to_do_without_its_libraries(samples: list[Sample]) -> None:
    report = await tried("says-why-not", import_module("broken.good").make(), samples)
    assert report.outcome is Outcome.SKIPPED
    assert report.message == "the engine was given as an object, from which no library can be hidden"


async def test_a_job_that_asks_in_the_middle_of_its_work_heeds_a_cancel(samples: list[Sample]) -> None:
    report = await tried("heeds-cancel", "broken.asks_often:make", samples)
    assert report.outcome is Outcome.PASSED, report.message
    assert re.fullmatch(r"over \d\.\d s after the cancel", report.message)


async def test_a_job_that_never_asks_is_found_where_its_sample_takes_longer_than_the_bound(
    samples: list[Sample],
) -> None:
    """Cancelled in its middle, such a run would be over within the bound, and nobody would know."""
    report = await tried("heeds-cancel", "broken.hears_no_cancel:make", samples, cancel_secs=0.8)
    assert report.outcome is Outcome.FAILED, report.message
    assert "a cancelled job went on for more than 0.8 s" in report.message
