"""From a prompt to an answer where the model says what the test wants: its tokens are put into its mouth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from studio_worker_llama import LlamaEngine
from studio_worker_llama.generation import REPORT_TOKENS
from studio_worker_llama.sampling import Sampler

from studio_worker import Cancelled, EngineJob, LlmResult, TextDelta

Speaks = Callable[[str], None]
Made = Callable[..., EngineJob]


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> Speaks:
    """Lets the model say a text, byte by byte, and then end its answer; what it computes is thrown away."""

    def say(text: str) -> None:
        tokens: Iterator[int] = iter([*(3 + byte for byte in text.encode()), loaded.native.eos])
        monkeypatch.setattr(Sampler, "sample", lambda self: next(tokens))
        monkeypatch.setattr(Sampler, "sample_from", lambda self, logits: next(tokens))

    return say


def whole(engine: LlamaEngine, job: EngineJob) -> tuple[list[TextDelta], dict[str, Any]]:
    *deltas, result = engine.stream(job)
    assert isinstance(result, LlmResult)
    choice = result.json["choices"][0]
    assert "".join(delta.text for delta in deltas) == choice["message"]["content"]
    assert "".join(delta.reasoning for delta in deltas) == choice["message"].get("reasoning_content", "")
    return deltas, result.json


def test_an_answer_that_the_model_ends_says_stop_and_counts_its_last_token(
    engine: LlamaEngine, job: Made, speaks: Speaks
) -> None:
    speaks("Hello.")
    _, result = whole(engine, job())
    assert result["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello."},
        "finish_reason": "stop",
    }
    assert result["usage"]["completion_tokens"] == len("Hello.") + 1


def test_thinking_is_told_apart_in_the_stream_and_in_the_result(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("<think>\nBecause.\n</think>\n\nYes. ")
    deltas, result = whole(engine, job())
    assert result["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "Because.",
    }
    assert not any("think" in delta.text + delta.reasoning for delta in deltas)
    assert all(not (delta.text and delta.reasoning) for delta in deltas)


def test_a_character_of_several_tokens_is_streamed_whole(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("größer 🎉")
    deltas, _ = whole(engine, job())
    assert [delta.text for delta in deltas] == ["g", "r", "ö", "ß", "e", "r", " 🎉"]


def test_a_stop_text_across_tokens_ends_the_answer_and_nothing_of_it_is_streamed(
    engine: LlamaEngine, job: Made, speaks: Speaks
) -> None:
    speaks("One END Two")
    deltas, result = whole(engine, job(stop=("END",)))
    assert result["choices"][0]["message"]["content"] == "One"
    assert result["choices"][0]["finish_reason"] == "stop"
    assert result["usage"]["completion_tokens"] == len("One END")
    assert "E" not in "".join(delta.text for delta in deltas)


def test_what_only_looked_like_a_stop_text_is_given_in_the_end(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("One EN")
    assert whole(engine, job(stop=("END",)))[1]["choices"][0]["message"]["content"] == "One EN"


def test_of_several_stop_texts_the_one_that_comes_first_counts(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("a;b.c")
    assert whole(engine, job(stop=(".", ";")))[1]["choices"][0]["message"]["content"] == "a"


def test_the_last_token_that_fits_is_kept(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("abcdef")
    _, result = whole(engine, job(max_tokens=4))
    assert (result["choices"][0]["message"]["content"], result["choices"][0]["finish_reason"]) == ("abcd", "length")
    assert result["usage"]["completion_tokens"] == 4


def test_a_stop_text_in_the_last_token_that_fits_says_stop(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("abcd")
    assert whole(engine, job(max_tokens=3, stop=("c",)))[1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("said", ["</s>", "<think>", "</think>", "{% raw %}", "\x1b[2J"])
def test_texts_that_mean_something_elsewhere_are_only_text(
    engine: LlamaEngine, job: Made, speaks: Speaks, said: str
) -> None:
    speaks(f"a {said} b")
    assert whole(engine, job())[1]["choices"][0]["message"]["content"] == f"a {said} b"


def test_what_the_model_says_against_the_schema_is_not_taken(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks('{"a": "no number"}')
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    content = whole(engine, job(json_schema=schema, temperature=0))[1]["choices"][0]["message"]["content"]
    assert isinstance(json.loads(content)["a"], int)


@pytest.mark.parametrize("tokens", range(2, 40))
def test_json_is_whole_whatever_the_number_of_tokens(
    engine: LlamaEngine, job: Made, speaks: Speaks, tokens: int
) -> None:
    speaks('["größer", "한국어 텍스트", "🎉🎉🎉"]')
    _, result = whole(engine, job(json_schema={"type": "array", "items": {"type": "string"}}, max_tokens=tokens))
    choice = result["choices"][0]
    assert all(isinstance(text, str) for text in json.loads(choice["message"]["content"]))
    assert result["usage"]["completion_tokens"] <= tokens
    assert choice["finish_reason"] == "length"


def test_a_long_answer_in_many_byte_letters_is_not_cut_early(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    text = '["한국어 텍스트 🎉"]'
    speaks(text)
    _, result = whole(engine, job(json_schema={"type": "array", "items": {"type": "string"}}, max_tokens=60))
    assert result["choices"][0]["message"]["content"] == text
    assert result["choices"][0]["finish_reason"] == "stop"


def test_progress_is_told_every_few_tokens_and_at_the_end(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    seen: list[int] = []

    def watch(step: int, total: int, stage: str, preview: bytes | None) -> None:
        if stage == "generate":
            seen.append(step)

    speaks("x" * 20)
    whole(engine, job(max_tokens=50, on_progress=watch))
    assert seen == [0, REPORT_TOKENS, 2 * REPORT_TOKENS, 21]


def test_a_job_is_asked_before_every_token_whether_it_goes_on(engine: LlamaEngine, job: Made, speaks: Speaks) -> None:
    speaks("abcdef")
    made = job()
    stream = engine.stream(made)
    assert [next(stream).text for _ in range(3)] == ["a", "b", "c"]
    made._cancel.set()
    with pytest.raises(Cancelled):
        next(stream)
    assert engine.run(job(max_tokens=1)).json["usage"]["completion_tokens"] == 1
