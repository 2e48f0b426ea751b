from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.demo_jobs import DemoJob, built_in_jobs, fitted, read_jobs
from studio_worker.cli.jobs_file import BadJobsFile
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Routes
from studio_worker.wire.kinds import TaskKind

WORDS = {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]}
SYNTHETIC = {"engine": "synthetic", "files": []}


def line(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "task": WORDS, "modelSource": SYNTHETIC} | fields


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: dict[str, Any] | str) -> Path:
        path = tmp_path / "jobs.jsonl"
        path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
        return path

    return write


def routes(*engines: tuple[str, TaskKind]) -> Routes:
    known = [
        EngineDescription(name=name, sources=(name,), models={kind: (f"{name}:*",)})
        for name, kind in (*engines, *(("synthetic", kind) for kind in TaskKind))
        if name != "synthetic"
    ]
    own = EngineDescription(
        name="synthetic", sources=("synthetic",), models={kind: (f"synthetic-{kind}",) for kind in TaskKind}
    )
    return Routes.build((*known, own))


def test_the_built_in_jobs_are_of_all_kinds_and_hold_the_chain_from_text_to_text() -> None:
    jobs = {job.id: job for job in read_jobs(built_in_jobs())}
    assert {job.kind for job in jobs.values()} == set(TaskKind)
    (heard,) = [job for job in jobs.values() if job.kind is TaskKind.AUDIO_STT]
    spoken = jobs[heard.line["task"]["inputUrl"].removeprefix("result:")]
    assert spoken.kind is TaskKind.AUDIO_TTS
    assert (spoken.engine, heard.engine) == ("piper", "whisper")


def test_the_files_of_the_built_in_jobs_carry_their_hash_and_size() -> None:
    files = [file for job in read_jobs(built_in_jobs()) for file in job.line["modelSource"]["files"]]
    assert files
    for file in files:
        assert len(file["sha256"]) == 64
        assert file["approxBytes"] > 0
        assert file["url"].startswith("https://")


def test_a_line_without_an_id_is_called_by_its_number(write) -> None:
    jobs = read_jobs(write(line(id="named"), "", line()))
    assert [job.id for job in jobs] == ["named", "job-3"]


def test_jobs_keep_the_order_of_their_file(write) -> None:
    names = [f"j-{number}" for number in (3, 1, 2)]
    assert [job.id for job in read_jobs(write(*(line(id=name) for name in names)))] == names


def test_a_job_says_its_kind_and_the_engine_that_it_names(write) -> None:
    (job,) = read_jobs(write(line(id="a", modelSource={"engine": "llama-cpp"})))
    assert (job.kind, job.engine, job.note) == (TaskKind.LLM, "llama-cpp", "")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (line(id="a"), "is the id of an earlier line too"),
        (line(id=5), "id: must be"),
        (line(id=None), "id: must be"),
        (line(id=""), "id: must be"),
        (line(id="../up"), "id: must be"),
        (line(id="a/b"), "id: must be"),
        (line(id="x" * 129), "id: must be"),
        (line(id="a\r\nX: y"), "id: must be"),
        (line(id="b", modelSource=None), "modelSource: is required"),
        (line(id="b", modelSource={"engine": "../x"}), "engine"),
        (line(id="b", task={"kind": "image"}), "task.prompt"),
        ("not json", "line 2"),
        ('"text"', "is no JSON object"),
    ],
)
def test_a_line_that_cannot_be_queued_is_named_by_its_number_and_field(write, bad, problem) -> None:
    with pytest.raises(BadJobsFile) as caught:
        read_jobs(write(line(id="a"), bad))
    assert "line 2" in str(caught.value)
    assert problem in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_generated_id_that_an_earlier_line_has_is_named(write) -> None:
    with pytest.raises(BadJobsFile, match="line 2: id"):
        read_jobs(write(line(id="job-2"), line()))


@pytest.mark.parametrize("path", ["gone.jsonl", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path) -> None:
    with pytest.raises(BadJobsFile, match="cannot be read"):
        read_jobs(tmp_path / path)


def test_a_file_name_that_drives_a_terminal_is_escaped(tmp_path: Path) -> None:
    with pytest.raises(BadJobsFile) as caught:
        read_jobs(tmp_path / "\x1b[2J")
    assert "\x1b" not in str(caught.value)


def test_a_job_whose_engine_and_files_are_here_is_queued_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "voice.onnx").write_bytes(b"x")
    job = DemoJob(line(id="a", modelSource={"engine": "real", "files": [{"filename": "voice.onnx"}]}))
    assert fitted([job], routes(("real", TaskKind.LLM)), tmp_path) == [job]


def test_a_job_whose_engine_is_missing_goes_to_synthetic_and_says_what_to_install(tmp_path: Path) -> None:
    (found,) = fitted([DemoJob(line(id="a", modelSource={"engine": "real", "files": []}))], routes(), tmp_path)
    assert (found.engine, found.line["model"]) == ("synthetic", "synthetic-llm")
    assert found.note == "no real engine here: pip install studio-worker-real"
    assert (found.id, found.line["task"]) == ("a", WORDS)


def test_an_engine_that_serves_another_kind_does_not_count(tmp_path: Path) -> None:
    job = DemoJob(line(id="a", modelSource={"engine": "real", "files": []}))
    (found,) = fitted([job], routes(("real", TaskKind.IMAGE)), tmp_path)
    assert found.engine == "synthetic"


def test_a_job_whose_model_file_is_missing_goes_to_synthetic_and_names_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "voice.onnx").write_bytes(b"x")
    files = [{"filename": "voice.onnx"}, {"filename": "voice.json"}]
    job = DemoJob(line(id="a", modelSource={"engine": "real", "files": files}))
    (found,) = fitted([job], routes(("real", TaskKind.LLM)), tmp_path)
    assert found.note == f"voice.json is not in {tmp_path}"
    assert found.line["modelSource"] == {"engine": "synthetic", "files": []}


@pytest.mark.parametrize(("kind", "model"), [("audio_tts", "synthetic-tts"), ("audio_stt", "synthetic-stt")])
def test_the_synthetic_model_of_a_kind_of_sound_is_called_as_it_advertises(tmp_path: Path, kind, model) -> None:
    task = {"kind": kind, "text": "x", "inputUrl": "result:a"}
    (found,) = fitted([DemoJob(line(id="a", task=task, modelSource={"engine": "real"}))], routes(), tmp_path)
    assert found.line["model"] == model


def test_fitting_leaves_the_jobs_that_were_read_untouched(tmp_path: Path) -> None:
    job = DemoJob(line(id="a", modelSource={"engine": "real", "files": []}))
    before = json.dumps(job.line)
    fitted([job], routes(), tmp_path)
    assert json.dumps(job.line) == before
