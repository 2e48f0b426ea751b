"""Jobs of this process with files of this machine, and with results that come piece by piece."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio_worker import (
    BadInput,
    Config,
    Engine,
    EngineCapabilities,
    EngineJob,
    ImageResult,
    ImageTask,
    JobProgress,
    LlmResult,
    ModelSource,
    SttTask,
    TaskKind,
    TextDelta,
    TranscriptResult,
    Worker,
)
from studio_worker.errors import BadClaim, NoEngine
from studio_worker.models.ledger import Ledger

MINE = ModelSource(engine="mirror")


class Mirror(Engine):
    """Gives back what it is given: pictures as they are, sounds by their size, words one by one."""

    name = "mirror"
    isolation = "loop"
    seen: EngineJob

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.IMAGE: ["m"], TaskKind.AUDIO_STT: ["m"], TaskKind.LLM: ["m"]})

    async def run(self, job: EngineJob) -> Any:
        self.seen = job
        match job.task.kind:
            case TaskKind.IMAGE:
                return ImageResult(job.inputs["image"].read_bytes(), "png")
            case TaskKind.LLM:
                message = {"role": "assistant", "content": job.task.messages[-1].content}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                return LlmResult({"object": "chat.completion", "model": "m", "choices": [choice], "usage": usage})
            case _:
                size = len(job.inputs["audio"].read_bytes())
                return TranscriptResult({"text": str(size), "language": "en", "duration": 1.0})

    async def stream(self, job: EngineJob) -> AsyncIterator[Any]:
        if job.task.kind is TaskKind.LLM:
            for word in job.task.messages[-1].content.split():
                yield TextDelta(word)
        yield await self.run(job)


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
async def worker(settings: Any, mirror: Mirror) -> AsyncIterator[Worker]:
    async with Worker(settings(), engines=[mirror]) as worker:
        yield worker


def png(path: Path) -> Path:
    Image.new("RGB", (4, 3), (1, 2, 3)).save(path, "PNG")
    return path


async def test_an_engine_finds_a_callers_file_where_a_fetched_one_would_lie(worker, mirror, tmp_path):
    file = png(tmp_path / "mine.png")
    result = await worker.submit(ImageTask(prompt="x"), model="m", inputs={"image": file})
    assert Image.open(io.BytesIO(result.data)).size == (4, 3)
    assert mirror.seen.inputs["image"].parent == mirror.seen.work_dir
    assert mirror.seen.task.init_image_url == "local:image"


async def test_a_sound_of_ones_own_needs_no_url_that_leads_anywhere(worker, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"12345")
    result = await worker.submit(SttTask(input_url="-"), model="m", inputs={"audio": tmp_path / "a.wav"})
    assert result.json["text"] == "5"


async def test_a_file_that_is_not_there_ends_the_job_by_field_and_path(worker, tmp_path):
    with pytest.raises(BadInput, match=r"task\.initImageUrl: .*no\.png cannot be used: No such file"):
        await worker.submit(ImageTask(prompt="x"), model="m", inputs={"image": tmp_path / "no.png"})


async def test_an_input_that_the_kind_does_not_take_ends_the_job(worker, tmp_path):
    with pytest.raises(BadClaim, match="'audio' is no input of kind image"):
        await worker.submit(ImageTask(prompt="x"), model="m", inputs={"audio": tmp_path})


async def test_model_files_of_ones_own_are_used_where_they_lie(worker, mirror, settings, tmp_path, words):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"w")
    before = file.stat()
    await worker.submit(words(), model="any", source=MINE, files={"model": [file]})
    assert mirror.seen.files == {"model": [file]}
    assert (mirror.seen.source, mirror.seen.model) == (MINE, "any")
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert not settings().models_path.exists()


async def test_a_model_file_that_is_not_there_ends_the_job_with_its_path(worker, tmp_path, words):
    with pytest.raises(BadInput, match=r"no\.gguf is not there"):
        await worker.submit(words(), model="m", source=MINE, files={"model": [tmp_path / "no.gguf"]})


async def test_a_path_that_can_be_none_ends_the_job_for_good(worker, words):
    with pytest.raises(BadInput, match="cannot be a path: embedded null byte") as caught:
        await worker.submit(words(), model="m", source=MINE, files={"model": ["a\0b"]})
    assert not caught.value.retryable


async def test_files_of_ones_own_do_not_change_who_runs_the_job(worker, tmp_path, words):
    file = png(tmp_path / "m.png")
    with pytest.raises(NoEngine, match="pip install studio-worker-parakeet"):
        await worker.submit(words(), model="m", source=ModelSource(engine="parakeet"), files={"model": [file]})


async def test_a_job_that_streams_gives_the_pieces_before_its_result(worker, words):
    job = worker.submit(words("one two three"), model="m", stream=True)
    pieces = [each async for each in job if not isinstance(each, JobProgress)]
    assert pieces == [TextDelta("one"), TextDelta("two"), TextDelta("three")]
    assert (await job).json["choices"][0]["message"]["content"] == "one two three"


async def test_a_job_that_does_not_stream_gives_no_pieces(worker, words):
    job = worker.submit(words("one two three"), model="m")
    assert [each async for each in job] == []


async def test_a_local_job_tells_engine_model_seed_and_time_of_every_kind_of_result(worker, words, tmp_path):
    told = []
    for job in (
        worker.submit(words(), model="m"),
        worker.submit(ImageTask(prompt="x", seed=5), model="m", inputs={"image": png(tmp_path / "a.png")}),
    ):
        await job
        told.append(job.meta)
    assert [(meta["engine"], meta["model"]) for meta in told] == [("mirror", "m")] * 2
    assert told[1]["seed"] == 5
    assert all(meta["seconds"] >= 0 and isinstance(meta["seed"], int) for meta in told)


async def test_a_caller_may_give_the_seed_of_any_kind_of_job(worker, mirror, words):
    job = worker.submit(words(), model="m", seed=11)
    await job
    assert (mirror.seen.seed, job.meta["seed"]) == (11, 11)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"task": "paint"}, "task: ImageTask, LlmTask, SttTask, TtsTask or VideoTask is needed, not str"),
        ({"task": None}, "task: .* is needed, not None"),
        ({"model": 5}, "model: the model id, a str is needed, not int"),
        ({"source": "mirror"}, "source: a ModelSource is needed, not str"),
        ({"source": {"engine": "mirror"}}, "source: a ModelSource is needed, not dict"),
        ({"inputs": ["a.png"]}, "inputs: a mapping by role is needed, not list"),
        ({"inputs": {1: "a.png"}}, "inputs: a mapping by role"),
        ({"inputs": {"image": None}}, r"inputs\['image'\]: a path is needed, not None"),
        ({"inputs": {"image": b"\x89PNG" * 90_000}}, r"inputs\['image'\]: a path is needed, not bytes$"),
        ({"files": ["a.gguf"]}, "files: a mapping by role is needed, not list"),
        ({"files": {"model": "a.gguf"}}, r"files\['model'\]: a list of paths is needed, not str"),
        ({"files": {"model": [b"a.gguf"]}}, r"files\['model'\]\[0\]: a path is needed, not bytes"),
        ({"seed": "7"}, "seed: a whole number is needed, not str"),
        ({"seed": 7.5}, "seed: a whole number is needed, not float"),
        ({"seed": True}, "seed: a whole number is needed, not bool"),
    ],
)
async def test_an_argument_of_a_wrong_type_is_named_at_the_call(arguments, sentence, worker):
    task = arguments.pop("task", ImageTask(prompt="x"))
    with pytest.raises(TypeError, match=f"^{sentence}"):
        worker.submit(task, **{"model": "m", **arguments})


@pytest.mark.parametrize("seed", [-3, 2**64])
async def test_a_seed_out_of_range_ends_the_job(seed, worker, words):
    job = worker.submit(words(), model="m", seed=seed)
    with pytest.raises(BadClaim, match="seed: must be a whole number from 0 to 18446744073709551615"):
        await job


async def test_an_engine_gets_a_plain_int_as_seed(worker, mirror, words):
    class Counted:
        def __index__(self) -> int:
            return 12

    await worker.submit(words(), model="m", seed=Counted())
    assert type(mirror.seen.seed) is int


async def test_files_may_be_given_by_paths_that_are_text(worker, mirror, words, tmp_path):
    file = png(tmp_path / "a.png")
    await worker.submit(ImageTask(prompt="x"), model="m", inputs={"image": str(file)})
    await worker.submit(words(), model="any", source=MINE, files={"model": [str(file)]})
    assert mirror.seen.files == {"model": [file]}


async def test_workers_may_share_the_memory_of_model_files(settings, mirror, words, tmp_path):
    shared = tmp_path / "shared" / "models.sqlite"
    file = tmp_path / "weights.bin"
    file.write_bytes(b"w")
    config: Config = settings("other")
    async with Worker(config, engines=[mirror], ledger=shared) as worker:
        await worker.submit(words(), model="m", source=MINE, files={"model": [file]})
    assert [record.path for record in Ledger(shared).records()] == [file]
    assert not (config.state_path / "models.sqlite").exists()
