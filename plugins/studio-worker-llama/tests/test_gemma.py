"""Gemma 3 270M, a base model: its mechanics are tested, not its wit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studio_worker_llama import LlamaEngine
from studio_worker_llama.settings import Settings

from studio_worker import Config, LlmResult, LlmTask, ModelSource, Worker

pytestmark = pytest.mark.real

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "hobbies": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
    },
    "required": ["name", "age", "hobbies"],
}


def test_it_knows_the_capital_of_france(engine: LlamaEngine, gemma: Any, job: Any) -> None:
    result = engine.run(job("The capital city of France is called", model=gemma, max_tokens=8, temperature=0)).json
    assert "Paris" in result["choices"][0]["message"]["content"]


def test_its_counts_are_those_of_the_library(engine: LlamaEngine, gemma: Any, job: Any, gemma_path: Path) -> None:
    import llama_cpp

    library = llama_cpp.Llama(str(gemma_path), vocab_only=True, verbose=False)
    text = "Größe, 日本語 and emoji 🎉"
    usage = engine.run(job(text, model=gemma, max_tokens=16, temperature=0)).json["usage"]
    assert usage["prompt_tokens"] == len(library.tokenize(text.encode(), add_bos=True, special=True))
    assert usage["completion_tokens"] == 16
    library.close()


@pytest.mark.parametrize("tokens", [40, 90])
@pytest.mark.parametrize("seed", [1, 2])
def test_its_json_always_conforms(engine: LlamaEngine, gemma: Any, job: Any, tokens: int, seed: int) -> None:
    made = job(
        "Anna is 31, lives in Rome and loves chess.", model=gemma, json_schema=PERSON, max_tokens=tokens, seed=seed
    )
    *deltas, result = engine.stream(made)
    content = result.json["choices"][0]["message"]["content"]
    value = json.loads(content)
    assert value.keys() == PERSON["properties"].keys()
    assert 0 <= value["age"] <= 130
    assert len(value["hobbies"]) <= 4
    assert "".join(delta.text for delta in deltas) == content


def test_its_stream_comes_token_by_token_and_letters_come_whole(engine: LlamaEngine, gemma: Any, job: Any) -> None:
    *deltas, result = engine.stream(job("Ein Gedicht über Größe:", model=gemma, max_tokens=24, temperature=0))
    assert isinstance(result, LlmResult)
    assert len(deltas) > 12
    assert "".join(delta.text for delta in deltas) == result.json["choices"][0]["message"]["content"]


def test_the_same_seed_gives_the_same_answer(engine: LlamaEngine, gemma: Any, job: Any) -> None:
    def answer(seed: int) -> Any:
        return engine.run(job("Once upon a time", model=gemma, seed=seed, max_tokens=16, temperature=1.0)).json

    first = answer(11)
    assert answer(12) != first
    assert answer(11) == first


async def test_a_worker_answers_with_it(gemma_path: Path, tmp_path: Path) -> None:
    config = Config(api_base_url=None, state_dir=tmp_path, models_root=gemma_path.parent)
    source = ModelSource(
        engine="llama-cpp",
        files=[{"role": "model", "url": "https://models.example/gemma.gguf", "filename": gemma_path.name}],
        cli_defaults={"context_size": 512},
    )
    async with Worker(config, engines=[LlamaEngine(Settings(threads=1))]) as worker:
        task = LlmTask(messages=[{"role": "user", "content": "Name a color:"}], max_tokens=12, temperature=0)
        first = await worker.submit(task, model="gemma", source=source)
        second = await worker.submit(task, model="gemma", source=source)
    assert first.json["usage"] == second.json["usage"]
    assert first.json["choices"][0]["message"]["content"] == second.json["choices"][0]["message"]["content"] != ""
