"""A worker with this engine, found as an installed plugin is: a model's folder on disk, its process, a transcript."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest

from studio_worker import BadInput, Config, EngineError, ModelFiles, ModelSource, SttTask, TranscriptResult, Worker

PREFIX = "whisper-tiny.en-"


def as_url(data: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(data).decode()


@pytest.fixture
def folder(model: ModelFiles, tmp_path: Path) -> Path:
    """A models folder that holds the model beside others, so that its files have a prefix."""
    made = tmp_path / "models"
    made.mkdir()
    for path in model.files["model"]:
        shutil.copyfile(path, made / f"{PREFIX}{path.name}")
    return made


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> Config:
    return Config(
        api_base_url=None,
        state_dir=tmp_path / "state",
        models_root=folder,
        max_concurrent_jobs=2,
        plugins={"whisper": {"max_audio_secs": 30, "compute_type": "int8"}},
    )


def source(model: ModelFiles, *, leave_out: str = "", role: str = "model") -> ModelSource:
    names = [path.name for path in model.files["model"] if path.name != leave_out]
    files: list[dict[str, Any]] = [
        {"role": role, "url": f"https://models.example/{name}", "filename": f"{PREFIX}{name}"} for name in names
    ]
    return ModelSource.from_wire({"engine": "whisper", "files": files, "cliDefaults": {}})


async def test_a_worker_writes_down_speech_with_a_models_folder(
    config: Config, model: ModelFiles, speech: Path
) -> None:
    task = SttTask(input_url=as_url(speech.read_bytes()), timestamps="segment", language="en")
    async with Worker(config) as worker:
        job = worker.submit(task, model="whisper-tiny.en", source=source(model))
        stages = {progress.stage async for progress in job}
        result = await job
        again = await worker.submit(task, model="whisper-tiny.en", source=source(model, role="weights"))
    assert isinstance(result, TranscriptResult)
    assert "quick brown fox jumps over the lazy dog" in result.json["text"].lower()
    assert result.json["segments"][-1]["end"] <= result.json["duration"]
    assert "transcribe" in stages
    assert again.json == result.json


async def test_what_cannot_be_heard_ends_the_job_by_its_field(config: Config, model: ModelFiles, speech: Path) -> None:
    async with Worker(config) as worker:
        german = SttTask(input_url=as_url(speech.read_bytes()), language="de")
        with pytest.raises(BadInput, match=r"task\.language: de is not known to the model"):
            await worker.submit(german, model="whisper-tiny.en", source=source(model))
        page = SttTask(input_url=as_url(b"<!DOCTYPE html><title>Log in</title>"))
        with pytest.raises(BadInput, match=r"task\.inputUrl: "):
            await worker.submit(page, model="whisper-tiny.en", source=source(model))


async def test_a_folder_without_its_tokenizer_is_refused_with_the_file_to_add(
    config: Config, model: ModelFiles, speech: Path
) -> None:
    async with Worker(config) as worker:
        with pytest.raises(EngineError, match=r"whisper needs tokenizer\.json") as error:
            await worker.submit(
                SttTask(input_url=as_url(speech.read_bytes())),
                model="whisper-tiny.en",
                source=source(model, leave_out="tokenizer.json"),
            )
    assert not error.value.retryable
