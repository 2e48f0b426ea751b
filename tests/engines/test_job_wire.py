"""Jobs, models and results on the pipe."""

import json
from pathlib import Path

import pytest
from loguru import logger

from studio_worker.engines.base import (
    AudioResult,
    EngineJob,
    ImageResult,
    LlmResult,
    TranscriptResult,
    VideoResult,
)
from studio_worker.engines.framing import BrokenFrame
from studio_worker.engines.job_wire import (
    MAX_INLINE_BYTES,
    is_in_file,
    pack_job,
    pack_model,
    pack_result,
    unpack_job,
    unpack_model,
    unpack_result,
)
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.wire.model_source import ModelSource, parse_model_source
from studio_worker.wire.tasks import parse_task

SOURCE = {
    "engine": "sd-cpp",
    "files": [{"role": "vae", "url": "https://h/a", "filename": "a.gguf", "approxBytes": 5, "sha256": "a" * 64}],
    "cliDefaults": {"cfgScale": 1.5, "chatTemplateKwargs": {"a": None}},
}
TASKS = [
    {
        "kind": "image",
        "prompt": "ß",
        "negativePrompt": "n",
        "seed": 2**64 - 1,
        "denoise": 0.25,
        "samplingMethod": "lcm",
    },
    {"kind": "llm", "messages": [{"role": "user", "content": "hé"}], "stop": ["a"], "jsonSchema": {"type": "object"}},
    {"kind": "audio_stt", "inputUrl": "https://h/a.wav", "vad": True, "timestamps": "word"},
    {"kind": "audio_tts", "text": "hello", "speed": 1.5},
    {"kind": "video", "prompt": "waves", "fps": 12},
]


def crossed(raw):
    """What is left of it on the other side."""
    return json.loads(json.dumps(raw))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task["kind"])
def test_a_job_is_the_same_on_the_other_side(task, tmp_path):
    model = ModelFiles(
        "m", parse_model_source(SOURCE), {"vae": [tmp_path / "a"], "lora": []}, LoadOptions(context_size=4), tmp_path
    )
    job = EngineJob(
        id="j-1", model="m", task=parse_task(task), seed=7, work_dir=tmp_path, log=logger, source=model.source,
        files=model.files, inputs={"audio": tmp_path / "a.wav"}, options=model.options,
    )  # fmt: skip
    there, files = unpack_job(crossed(pack_job(job, model)), logger)
    assert (there.task, type(there.task)) == (job.task, type(job.task))
    assert files == model
    for name in ("id", "model", "seed", "work_dir", "source", "files", "inputs", "options"):
        assert getattr(there, name) == getattr(job, name), name


def test_a_path_that_is_no_utf_8_is_the_same_on_the_other_side():
    model = ModelFiles("m", ModelSource(engine="x"), {"model": [Path("/odd/\udcff.bin")]})
    assert unpack_model(crossed(pack_model(model))).files == model.files


RESULTS = [
    ImageResult(b"\x00\xff", "png"),
    AudioResult(b"x"),
    VideoResult(b"x", "gif"),
    LlmResult({"a": [1, None, "ü", 2.5]}),
    TranscriptResult({"text": "hello"}),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_is_the_same_on_the_other_side(result, tmp_path):
    raw = crossed(pack_result(result, tmp_path, 1))
    assert not is_in_file(raw)
    assert unpack_result(raw, tmp_path) == result


def test_bytes_past_64_kib_go_by_file(tmp_path):
    data = bytes(MAX_INLINE_BYTES + 1)
    raw = crossed(pack_result(ImageResult(data, "png"), tmp_path, 3))
    assert is_in_file(raw)
    assert unpack_result(raw, tmp_path).data.read_bytes() == data


def test_json_past_64_kib_goes_by_file(tmp_path):
    result = LlmResult({"text": "ü" * MAX_INLINE_BYTES})
    raw = crossed(pack_result(result, tmp_path, 3))
    assert is_in_file(raw)
    assert unpack_result(raw, tmp_path) == result


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"kind": "picture"},
        {"kind": ["llm"]},
        {"kind": "image", "ext": "png"},
        {"kind": "image", "ext": 5, "data": ""},
        {"kind": "image", "ext": "png", "data": "%%%"},
        {"kind": "image", "ext": "png", "data": 5},
        {"kind": "image", "ext": "png", "path": 5},
        {"kind": "llm", "json": "{"},
        {"kind": "llm", "json": "[" * 100_000},
        {"kind": "llm", "path": "/etc/hostname"},
        {"kind": "llm", "path": "/nowhere"},
    ],
    ids=lambda raw: json.dumps(raw)[:40],
)
def test_what_is_no_result_is_refused(raw, tmp_path):
    with pytest.raises(BrokenFrame):
        unpack_result(raw, tmp_path)
