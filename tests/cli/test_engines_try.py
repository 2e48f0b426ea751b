from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from studio_worker.cli.engines_try import read_task, settings_for
from studio_worker.cli.jobs_file import BadJobsFile
from studio_worker.config import Config
from studio_worker.engines.description import EngineDescription
from studio_worker.wire.model_source import ModelSource

Call = Callable[..., Any]

ENGINE = """
from pathlib import Path
from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, Unavailable, hookimpl

class Named(Engine):
    sources = ("den",)
    isolation = "thread"
    def __init__(self, name):
        self.name = name
    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: [self.name + "-1"]})
    def run(self, job):
        said = {"role": "assistant", "content": f"I am {self.name}, seed {job.seed}"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})

class Away(Named):
    def availability(self):
        return Unavailable("no den here", "dig one")

@hookimpl
def studio_worker_engines(config):
    return [Named("badger"), Named("fox"), Away("mole")]
"""
POINT = "[studio_worker]\nden = studio_worker_den\n"
LLM: dict[str, Any] = {"model": "fox-1", "task": {"kind": "llm", "messages": [{"role": "user", "content": "who?"}]}}
IMAGE: dict[str, Any] = {
    "model": "synthetic-image",
    "task": {"kind": "image", "prompt": "a fox", "width": 32, "height": 24, "ext": "png"},
}
OTHERS = "llama,onnx,piper,sdcpp,whisper"


@pytest.fixture
def den(installed: Call) -> dict[str, str]:
    """A package of three engines that serve the same source; the first of them would be picked."""
    found = installed("studio-worker-den", source=ENGINE, entry_points=POINT)
    return {**found, "STUDIO_WORKER_DISABLED_ENGINES": OTHERS}


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of jobs; returns its path."""

    def write(*jobs: dict[str, Any]) -> str:
        path = tmp_path / "jobs.jsonl"
        path.write_text("\n".join(json.dumps(job) for job in jobs))
        return str(path)

    return write


@pytest.mark.parametrize("name", ["fox", "badger"])
def test_the_named_engine_runs_the_task_whoever_would_be_picked(
    name: str, program: Call, den: dict[str, str], task: Call
) -> None:
    file = task(LLM | {"modelSource": {"engine": "den"}, "seed": 5})
    outcome = program("engines", "try", name, "--task", file, "--json", environ=den)
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["engine"] == name
    assert found["result"]["choices"][0]["message"]["content"] == f"I am {name}, seed 5"
    assert found["seconds"]["job"] >= 0


def test_a_task_without_a_source_is_run_as_the_engines_own(program: Call, den: dict[str, str], task: Call) -> None:
    outcome = program("engines", "try", "fox", "--task", task(LLM), environ=den)
    assert (outcome.status, outcome.out.startswith("I am fox")) == (0, True)
    assert "engine fox" in outcome.err


def test_a_task_of_another_engines_source_is_refused_by_both_names(
    program: Call, den: dict[str, str], task: Call
) -> None:
    outcome = program("engines", "try", "fox", "--task", task(LLM | {"modelSource": {"engine": "lair"}}), environ=den)
    assert outcome.status == 1
    assert "the task's source names 'lair', and engine 'fox' serves den" in outcome.err


def test_a_kind_that_the_engine_does_not_serve_is_refused(program: Call, den: dict[str, str], task: Call) -> None:
    outcome = program("engines", "try", "fox", "--task", task(IMAGE), environ=den)
    assert outcome.status == 1
    assert "the task is of kind image, and engine 'fox' serves llm" in outcome.err


def test_an_engine_that_cannot_run_is_refused_with_its_remedy(program: Call, den: dict[str, str], task: Call) -> None:
    outcome = program("engines", "try", "mole", "--task", task(LLM), environ=den)
    assert outcome.status == 1
    assert "unavailable: no den here; dig one" in outcome.err


def test_an_engine_that_there_is_not_is_refused_with_those_that_are(cli: Call, task: Call) -> None:
    outcome = cli("engines", "try", "nobody", "--task", task(IMAGE))
    assert outcome.status == 2
    assert "synthetic" in outcome.err


def test_a_result_goes_into_a_folder_that_is_made_for_it(program: Call, task: Call, tmp_path: Path) -> None:
    out = tmp_path / "results" / "today"
    outcome = program("engines", "try", "synthetic", "--task", task(IMAGE | {"seed": 7}), "--out", str(out), "--json")
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["path"] == str(out / "image-7.png")
    assert (out / "image-7.png").read_bytes().startswith(b"\x89PNG")


def test_a_job_that_fails_is_told_as_json_too(program: Call, task: Call) -> None:
    bad = {"model": "synthetic-stt", "task": {"kind": "audio_stt", "inputUrl": "data:audio/wav;base64,!"}}
    outcome = program("engines", "try", "synthetic", "--task", task(bad), "--json")
    assert outcome.status == 1
    assert json.loads(outcome.out)["error"]["message"]


@pytest.mark.parametrize(
    ("name", "job", "more", "said"),
    [
        ("fox", IMAGE, (), "the task is of kind image"),
        ("fox", LLM | {"modelSource": {"engine": "lair"}}, (), "the task's source names 'lair'"),
        ("mole", LLM, (), "no den here; dig one"),
        ("fox", LLM, ("--out", "/dev/null/results"), "cannot be made: Not a directory"),
    ],
)
def test_whatever_keeps_a_job_from_being_run_is_told_as_json_too(
    name: str, job: dict[str, Any], more: tuple[str, ...], said: str, program: Call, den: dict[str, str], task: Call
) -> None:
    outcome = program("engines", "try", name, "--task", task(job), "--json", *more, environ=den)
    assert outcome.status == 1
    found = json.loads(outcome.out)
    assert (found["kind"], found["model"]) == (job["task"]["kind"], job["model"])
    assert said in found["error"]["message"]
    assert said in outcome.err


def test_a_claim_is_read_in_an_offer_and_over_many_lines(tmp_path: Path) -> None:
    file = tmp_path / "offer.json"
    file.write_text(json.dumps({"type": "offer", "claim": LLM | {"jobId": "job-1"}}, indent=2))
    assert read_task(file, None).model == "fox-1"


def test_a_sample_brings_its_files_from_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "conformance.jsonl"
    sample = {"model": "m", "task": {"kind": "audio_stt", "inputUrl": "local:audio"}, "inputs": {"audio": "a.wav"}}
    file.write_text(json.dumps(sample | {"files": {"model": ["m.bin"]}, "modelSource": {"engine": "x"}, "seed": 3}))
    order = read_task(file, None)
    assert (order.inputs, order.files, order.seed) == (
        {"audio": tmp_path / "a.wav"},
        {"model": [tmp_path / "m.bin"]},
        3,
    )


def test_the_same_plugin_in_another_environment_is_left_alone(task: Call) -> None:
    near, far, beside = (
        EngineDescription(name=name, distribution=name, plugin=name, environment=environment)
        for name, environment in (("fox", "near"), ("fox", "far"), ("hare", ""))
    )
    order = replace(read_task(Path(task(LLM)), None), source=ModelSource(engine="fox"))
    settings = settings_for(near, (far, near, beside), order, Config(disabled_engines=("owl",)))
    assert settings.disabled_engines == ("far", "hare", "owl")


def test_one_of_several_lines_is_named(task: Call) -> None:
    file = Path(task(LLM | {"id": "a"}, IMAGE | {"id": "b"}))
    assert read_task(file, "b").model == "synthetic-image"
    with pytest.raises(click.UsageError, match="holds 2 jobs"):
        read_task(file, None)
    with pytest.raises(click.UsageError, match="has no job"):
        read_task(file, "c")


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({"model": "m"}, "task"),
        ({"task": LLM["task"]}, "model"),
        (LLM | {"seed": -1}, "seed"),
        (LLM | {"seed": True}, "seed"),
        (LLM | {"files": []}, "files"),
        (LLM | {"inputs": {"audio": 3}}, "audio"),
        (LLM | {"inputs": {"audio": ["a.wav", "b.wav"]}}, "inputs.audio"),
        (LLM | {"modelSource": {"engine": ""}}, "modelSource"),
    ],
)
def test_a_file_that_holds_no_job_is_refused_by_line_and_field(job: dict[str, Any], field: str, task: Call) -> None:
    with pytest.raises(BadJobsFile, match=rf"line 1: .*{field}"):
        read_task(Path(task(job)), None)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="cannot be read"):
        read_task(tmp_path / "nothing.json", None)
