"""The engine where the worker runs it: in a process of its own, by the host."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from studio_worker import (
    BadInput,
    EngineError,
    LlmResult,
    LlmTask,
    ModelFiles,
    TaskKind,
    TextDelta,
)
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.host import EngineCall, Host
from studio_worker.engines.router import Route

ENGINE = EngineDescription(
    name="llama",
    distribution="studio-worker-llama",
    plugin="llama",
    entry_point="studio_worker_llama",
    sources=("llama-cpp",),
    models={TaskKind.LLM: ("llama-cpp:*",)},
)
GRACE_SECS = 20.0
pytestmark = pytest.mark.asyncio(loop_scope="module")
SOON = 60.0

Call = Callable[..., EngineCall]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Host]:
    """One process for all tests: each begins with whatever the last has left loaded."""
    made = Host([ENGINE], tables={"llama": {"threads": 1, "batch": 32}}, cancel_grace_secs=GRACE_SECS)
    yield made
    await made.aclose()


@pytest.fixture
def call(tmp_path: Path, tiny: Path) -> Call:
    """Makes a call of what the user says and other fields of the task."""
    number = iter(range(100))

    def make(
        text: str = "Hi",
        *,
        model: ModelFiles | None = None,
        on_chunk: Any = None,
        on_progress: Any = lambda *report: None,
        **fields: Any,
    ) -> EngineCall:
        files = model or ModelFiles(id="tiny", files={"model": [tiny]})
        folder = tmp_path / f"job-{next(number)}"
        folder.mkdir()
        return EngineCall(
            job_id=folder.name,
            route=Route(ENGINE, TaskKind.LLM, files.id, "llama-cpp", "source"),
            task=LlmTask(messages=[{"role": "user", "content": text}], **fields),
            model=files,
            inputs={},
            seed=7,
            work_dir=folder,
            on_progress=on_progress,
            on_chunk=on_chunk,
        )

    return make


async def answer(host: Host, call: EngineCall) -> dict[str, Any]:
    output = await asyncio.wait_for(host.run(call), SOON)
    assert isinstance(output.result, LlmResult)
    return output.result.json


@asynccontextmanager
async def under_way(host: Host, call: EngineCall, begun: asyncio.Event) -> AsyncIterator[asyncio.Task[Any]]:
    """A run that has begun; it is over when the block is left."""
    running = asyncio.create_task(host.run(call))
    await asyncio.wait_for(begun.wait(), SOON)
    yield running
    await asyncio.wait_for(host.settled(call.job_id), SOON)


async def test_an_answer_comes_back_whole(host: Host, call: Call) -> None:
    result = await answer(host, call(max_tokens=12, temperature=0))
    assert result["usage"]["prompt_tokens"] == 1 + len("[user]Hi[assistant]")
    assert 1 <= result["usage"]["completion_tokens"] <= 12


async def test_tokens_are_streamed_as_they_come_and_the_result_is_the_same(host: Host, call: Call) -> None:
    pieces: list[TextDelta] = []
    streamed = await answer(host, call(max_tokens=40, temperature=0, on_chunk=pieces.append))
    whole = await answer(host, call(max_tokens=40, temperature=0))
    assert streamed == whole
    assert len(pieces) > 3
    assert "".join(piece.text for piece in pieces) == whole["choices"][0]["message"]["content"]


async def test_json_conforms_through_the_process_too(host: Host, call: Call) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5}}, "required": ["a"]}
    result = await answer(host, call(json_schema=schema, temperature=2.0, max_tokens=60))
    assert json.loads(result["choices"][0]["message"]["content"])["a"] >= 5


async def test_the_model_stays_loaded_for_the_next_job(host: Host, call: Call, tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny.read_bytes())
    model = ModelFiles(id="copy", files={"model": [copy]})
    stages: list[str] = []
    first = await answer(host, call(model=model, max_tokens=6, temperature=0))
    # Nothing but a loaded model answers from a file whose bytes are gone; its name, size and time stay.
    entry = copy.stat()
    with copy.open("r+b") as file:
        file.write(bytes(64))
    os.utime(copy, ns=(entry.st_atime_ns, entry.st_mtime_ns))
    again = call(model=model, max_tokens=6, temperature=0, on_progress=lambda *report: stages.append(report[2]))
    assert await answer(host, again) == first
    assert "load" not in stages


async def test_another_model_takes_the_place_of_the_last(
    host: Host, call: Call, gguf_file: Callable[..., Path], tmp_path: Path
) -> None:
    other = ModelFiles(id="other", files={"model": [gguf_file(tmp_path / "other.gguf", seed=5)]})
    first = await answer(host, call(max_tokens=20, temperature=0))
    assert (await answer(host, call(model=other, max_tokens=20, temperature=0)))["model"] == "other"
    assert await answer(host, call(max_tokens=20, temperature=0)) == first


async def test_a_prompt_that_does_not_fit_is_bad_input_there_too(host: Host, call: Call) -> None:
    with pytest.raises(BadInput, match=r"task\.messages: the prompt is 3\d\d tokens but the context holds 256"):
        await answer(host, call("z" * 300))


async def test_an_embedding_model_is_refused_before_it_is_loaded(
    host: Host, call: Call, gguf_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = gguf_file(tmp_path / "e.gguf", extra=lambda writer: writer.add_uint32("llama.pooling_type", 1))
    with pytest.raises(EngineError, match="is an embedding model") as error:
        await answer(host, call(model=ModelFiles(id="e", files={"model": [path]})))
    assert not error.value.retryable


async def test_a_job_cancelled_amid_its_answer_ends_and_the_model_goes_on(host: Host, call: Call) -> None:
    begun, pieces = asyncio.Event(), []

    def take(piece: TextDelta) -> None:
        pieces.append(piece)
        begun.set()

    # A seed and a temperature that go on to the end of the context, were they let.
    running = call(max_tokens=10_000, temperature=0, on_chunk=take)
    async with under_way(host, running, begun) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await answer(host, call(max_tokens=3)))["usage"]["completion_tokens"] >= 1


async def test_what_the_engine_estimates_comes_from_the_process(host: Host, tiny: Path) -> None:
    model = ModelFiles(id="tiny", files={"model": [tiny]})
    route = Route(ENGINE, TaskKind.LLM, "tiny", "llama-cpp", "source")
    estimate = await asyncio.wait_for(host.estimate(route, model), SOON)
    assert estimate is not None
    assert estimate.ram_bytes > tiny.stat().st_size
    assert estimate.vram_bytes == 0
