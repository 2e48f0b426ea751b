from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from studio_worker_llama import LlamaEngine, studio_worker_engines
from studio_worker_llama.settings import Settings

from studio_worker import (
    Available,
    BadInput,
    Cancelled,
    EngineError,
    LlmResult,
    LoadOptions,
    ModelFiles,
    PluginConfig,
    TaskKind,
    TextDelta,
    TtsTask,
    UnsupportedTask,
)
from studio_worker.wire.results import ChatCompletion


def said(engine: LlamaEngine, job: Any) -> str:
    return engine.run(job).json["choices"][0]["message"]["content"]


def test_the_plugin_serves_the_source_llama_cpp() -> None:
    (engine,) = studio_worker_engines(PluginConfig())
    assert (engine.name, engine.sources, engine.isolation, engine.concurrency) == (
        "llama",
        ("llama-cpp",),
        "process",
        1,
    )
    assert dict(engine.capabilities().models) == {TaskKind.LLM: ("llama-cpp:*",)}
    assert engine.availability() == Available()


def test_the_entry_point_leads_to_the_package() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.studio_worker]\nllama = "studio_worker_llama"\n' in text
    assert all(point.value == "studio_worker_llama" for point in entry_points(group="studio_worker", name="llama"))


def test_describing_the_engine_imports_no_heavy_library() -> None:
    code = (
        "import sys; from studio_worker_llama import LlamaEngine; e = LlamaEngine(); e.capabilities(); "
        "e.availability(); print([n for n in ('numpy', 'llama_cpp', 'jinja2', 'pydantic') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_llama.engine.find_spec", lambda name: None)
    remedy = getattr(LlamaEngine().availability(), "remedy", "")
    for part in ("pip install llama-cpp-python", "compiler", "cmake", "GGML_CUDA", "GGML_METAL", "GGML_VULKAN"):
        assert part in remedy


def test_an_answer_has_the_shape_and_the_counts_of_a_chat_completion(engine: LlamaEngine, job: Any) -> None:
    result = engine.run(job("Hi", max_tokens=12)).json
    ChatCompletion.model_validate(result)
    assert (result["object"], result["model"]) == ("chat.completion", "a-model")
    # <s>[user]Hi[assistant]: one token each character and one that begins it.
    assert result["usage"]["prompt_tokens"] == 1 + len("[user]Hi[assistant]")
    assert result["usage"]["total_tokens"] == sum(
        result["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )


def test_max_tokens_cuts_the_answer_and_says_so(engine: LlamaEngine, job: Any) -> None:
    result = engine.run(job(max_tokens=5, temperature=0)).json
    assert result["usage"]["completion_tokens"] == 5
    assert result["choices"][0]["finish_reason"] == "length"


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(engine: LlamaEngine, job: Any) -> None:
    first = said(engine, job(seed=3, max_tokens=40, temperature=1.0))
    said(engine, job("Something else in between", seed=9, max_tokens=8))
    assert said(engine, job(seed=3, max_tokens=40, temperature=1.0)) == first
    assert said(engine, job(seed=4, max_tokens=40, temperature=1.0)) != first


def test_a_seed_of_any_size_is_taken(engine: LlamaEngine, job: Any) -> None:
    for seed in (0, 2**32 - 1, 2**64 - 1):
        assert engine.run(job(seed=seed, max_tokens=2)).json["usage"]["completion_tokens"] >= 1


def test_temperature_zero_ignores_the_seed(engine: LlamaEngine, job: Any) -> None:
    assert said(engine, job(seed=1, temperature=0, max_tokens=20)) == said(
        engine, job(seed=2, temperature=0, max_tokens=20)
    )


def test_a_tiny_top_p_is_the_likeliest_token_every_time(engine: LlamaEngine, job: Any) -> None:
    greedy = said(engine, job(temperature=0, max_tokens=20))
    assert said(engine, job(seed=5, temperature=1.0, top_p=1e-6, max_tokens=20)) == greedy
    assert said(engine, job(seed=5, temperature=10.0, max_tokens=20)) != greedy


def test_what_ran_before_does_not_change_an_answer(tiny: Path, job: Any) -> None:
    long = "x" * 150

    def answer(*before: str) -> str:
        engine = LlamaEngine(Settings(threads=1, batch=32))
        model = engine.load(ModelFiles(id="tiny", files={"model": [tiny]}))
        for text in before:
            engine.run(job(text, model=model, max_tokens=9))
        found = said(engine, job(long, model=model, max_tokens=30))
        engine.unload(model)
        return found

    alone = answer()
    assert answer(long) == alone
    assert answer("x" * 100, "x" * 140 + "y") == alone


def test_a_beginning_that_two_prompts_share_is_read_once(engine: LlamaEngine, job: Any) -> None:
    read: list[int] = []
    engine.run(job("a" * 150, max_tokens=2))
    watch = lambda step, total, stage, preview: read.append(step) if stage == "prompt" else None  # noqa: E731
    engine.run(job("a" * 149 + "b", max_tokens=2, on_progress=watch))
    assert read[0] >= 96


def test_a_prompt_that_does_not_fit_is_refused_with_both_counts(engine: LlamaEngine, job: Any) -> None:
    tokens = 1 + len("[user]") + 300 + len("[assistant]")
    with pytest.raises(BadInput, match=rf"the prompt is {tokens} tokens but the context holds 256"):
        engine.run(job("z" * 300))


def test_an_answer_ends_where_the_context_does(engine: LlamaEngine, job: Any) -> None:
    text = "z" * (256 - 1 - len("[user][assistant]") - 3)
    result = engine.run(job(text, max_tokens=50, temperature=0)).json
    assert result["usage"]["completion_tokens"] <= 3
    assert result["usage"]["total_tokens"] <= 256


def test_a_prompt_that_leaves_room_for_one_token_is_answered(engine: LlamaEngine, job: Any) -> None:
    text = "z" * (256 - 1 - len("[user][assistant]") - 1)
    assert engine.run(job(text, max_tokens=50)).json["usage"]["completion_tokens"] == 1


def test_a_stop_text_ends_the_answer_and_is_no_part_of_it(engine: LlamaEngine, job: Any) -> None:
    whole = said(engine, job(max_tokens=40, temperature=0))
    stop = whole[12:15]
    result = engine.run(job(max_tokens=40, temperature=0, stop=(stop,))).json
    content = result["choices"][0]["message"]["content"]
    assert content == whole[: whole.index(stop)].rstrip()
    assert result["choices"][0]["finish_reason"] == "stop"
    assert result["usage"]["completion_tokens"] < 40


def test_a_stream_is_the_answer_in_pieces_and_then_the_result(engine: LlamaEngine, job: Any) -> None:
    *deltas, result = engine.stream(job(max_tokens=30, temperature=0))
    assert isinstance(result, LlmResult)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert len(deltas) > 5
    assert "".join(delta.text for delta in deltas) == result.json["choices"][0]["message"]["content"]
    assert result.json == engine.run(job(max_tokens=30, temperature=0)).json


def test_a_stop_text_is_never_streamed_in_part(engine: LlamaEngine, job: Any) -> None:
    whole = said(engine, job(max_tokens=40, temperature=0))
    stop = whole[10:14]
    *deltas, result = engine.stream(job(max_tokens=40, temperature=0, stop=(stop,)))
    text = "".join(delta.text for delta in deltas)
    assert text == result.json["choices"][0]["message"]["content"]
    assert stop not in text
    assert text == whole[: whole.index(stop)].rstrip()


def test_progress_is_told_in_tokens(engine: LlamaEngine, job: Any) -> None:
    seen: list[tuple[int, int, str]] = []
    result = engine.run(job("q" * 80, max_tokens=20, temperature=0, on_progress=lambda *step: seen.append(step[:3])))
    assert {stage for _, _, stage in seen} == {"prompt", "generate"}
    made = [step for step in seen if step[2] == "generate"]
    assert made[0] == (0, 20, "generate")
    assert made[-1] == (result.json["usage"]["completion_tokens"], 20, "generate")
    assert len(made) < 20


def test_a_job_cancelled_between_tokens_ends_there(engine: LlamaEngine, job: Any) -> None:
    made = job(max_tokens=100)
    stream = engine.stream(made)
    next(stream)
    made._cancel.set()
    with pytest.raises(Cancelled):
        next(stream)


def test_reading_a_prompt_is_aborted_inside_the_library(engine: LlamaEngine, job: Any) -> None:
    made = job("w" * 200)
    made._on_progress = lambda step, total, stage, preview: made._cancel.set()
    with pytest.raises(Cancelled):
        engine.run(made)
    assert engine.run(job("w" * 200, max_tokens=3)).json["usage"]["prompt_tokens"] > 200


def test_a_job_that_was_cancelled_before_it_began_reads_nothing(engine: LlamaEngine, job: Any) -> None:
    made = job()
    made._cancel.set()
    with pytest.raises(Cancelled):
        engine.run(made)


def test_the_systems_text_and_the_template_values_reach_the_prompt(engine: LlamaEngine, job: Any) -> None:
    plain = engine.run(job("Hi", max_tokens=1)).json["usage"]["prompt_tokens"]
    fields = {"system": "Be brief.", "chat_template_kwargs": {"mood": "sad", "messages": [], "bos_token": "!"}}
    more = engine.run(job("Hi", max_tokens=1, **fields)).json["usage"]["prompt_tokens"]
    assert more == plain + len("[system]Be brief.") + len("(sad)")


def test_a_task_of_another_kind_is_refused(engine: LlamaEngine, job: Any) -> None:
    made = job()
    made.task = TtsTask(text="Hello.")
    with pytest.raises(UnsupportedTask, match="not audio_tts"):
        engine.run(made)


def test_thinking_is_told_apart_from_the_answer(gguf_file: Any, engine: LlamaEngine, job: Any, tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "thinker.gguf", template="{{ messages[0].content }}<think>\n")
    model = engine.load(ModelFiles(id="thinker", files={"model": [path]}))
    *deltas, result = engine.stream(job(model=model, max_tokens=20, temperature=0))
    engine.unload(model)
    message = result.json["choices"][0]["message"]
    assert message["content"] == ""
    assert message["reasoning_content"] == "".join(delta.reasoning for delta in deltas) != ""


def test_a_schema_ends_the_thinking_that_a_template_has_opened(
    gguf_file: Any, engine: LlamaEngine, job: Any, tmp_path: Path
) -> None:
    path = gguf_file(tmp_path / "thinker.gguf", template="{{ messages[0].content }}<think>\n")
    model = engine.load(ModelFiles(id="thinker", files={"model": [path]}))
    message = engine.run(job(model=model, json_schema={"type": "boolean"})).json["choices"][0]["message"]
    engine.unload(model)
    assert message["content"] in ("true", "false")
    assert "reasoning_content" not in message


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 3, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
}


@pytest.mark.parametrize("seed", range(6))
def test_even_a_model_of_noise_answers_in_json_that_conforms(engine: LlamaEngine, job: Any, seed: int) -> None:
    result = engine.run(job(json_schema=PERSON, seed=seed, temperature=2.0, max_tokens=150)).json
    value = json.loads(result["choices"][0]["message"]["content"])
    assert {"name", "age"} <= value.keys() <= {"name", "age", "tags"}
    assert len(value["name"]) <= 12
    assert 3 <= value["age"] <= 120
    assert set(value.get("tags", [])) <= {"a", "b"}


@pytest.mark.parametrize("tokens", [24, 26, 30, 40])
def test_json_that_would_be_cut_is_brought_to_an_end(engine: LlamaEngine, job: Any, tokens: int) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "required": ["a", "b"],
    }
    result = engine.run(job(json_schema=schema, max_tokens=tokens, temperature=1.5)).json
    assert json.loads(result["choices"][0]["message"]["content"]).keys() == {"a", "b"}
    assert result["usage"]["completion_tokens"] <= tokens


def test_too_few_tokens_for_any_answer_of_the_schema_are_refused(engine: LlamaEngine, job: Any) -> None:
    with pytest.raises(BadInput, match=r"task\.maxTokens: 5 tokens are too few for jsonSchema"):
        engine.run(job(json_schema=PERSON, max_tokens=5))


def test_a_stop_text_never_comes_up_in_json(engine: LlamaEngine, job: Any) -> None:
    schema = {"type": "string", "minLength": 8, "maxLength": 20}
    free = said(engine, job(json_schema=schema, max_tokens=60, temperature=0))
    stop = json.loads(free)[2:4]
    kept = said(engine, job(json_schema=schema, max_tokens=60, temperature=0, stop=(stop,)))
    assert stop not in kept
    assert len(json.loads(kept)) >= 8


def test_a_stop_text_that_no_json_is_free_of_is_refused(engine: LlamaEngine, job: Any) -> None:
    with pytest.raises(BadInput, match=r"task\.stop"):
        engine.run(job(json_schema=PERSON, stop=("{",), max_tokens=100))


def test_a_template_that_climbs_out_is_refused_when_it_is_used(
    gguf_file: Any, engine: LlamaEngine, job: Any, tmp_path: Path
) -> None:
    path = gguf_file(tmp_path / "evil.gguf", template="{{ ''.__class__.__mro__ }}")
    model = engine.load(ModelFiles(id="evil", files={"model": [path]}))
    with pytest.raises(BadInput, match="unsafe"):
        engine.run(job(model=model))
    engine.unload(model)


def test_a_template_that_is_none_is_refused_at_loading(gguf_file: Any, engine: LlamaEngine, tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "bad.gguf", template="{% for %}")
    with pytest.raises(EngineError, match="chat template cannot be used") as error:
        engine.load(ModelFiles(id="bad", files={"model": [path]}))
    assert not error.value.retryable


def test_a_model_without_a_template_continues_a_lone_text(
    gguf_file: Any, engine: LlamaEngine, job: Any, tmp_path: Path
) -> None:
    model = engine.load(ModelFiles(id="base", files={"model": [gguf_file(tmp_path / "b.gguf", template=None)]}))
    assert engine.run(job("abc", model=model, max_tokens=1)).json["usage"]["prompt_tokens"] == 4
    engine.unload(model)


@pytest.mark.parametrize(
    ("add_bos", "template"), [(True, "{{ bos_token }}x"), (True, "x"), (False, "{{ bos_token }}x")]
)
def test_the_token_that_begins_a_sequence_stands_there_once(
    gguf_file: Any, engine: LlamaEngine, tmp_path: Path, add_bos: bool, template: str, job: Any
) -> None:
    path = gguf_file(tmp_path / "b.gguf", template=template, add_bos=add_bos)
    model = engine.load(ModelFiles(id="b", files={"model": [path]}))
    assert model.native.tokens(model.template.prompt(job().task).text)[:2].count(1) == 1
    engine.unload(model)


@pytest.mark.parametrize(("wanted", "got"), [(None, 256), (64, 64), (100_000, 256)])
def test_the_context_is_what_the_source_says_and_no_more_than_trained(
    engine: LlamaEngine, tiny: Path, wanted: int | None, got: int
) -> None:
    model = engine.load(ModelFiles(id="t", files={"model": [tiny]}, options=LoadOptions(context_size=wanted)))
    assert model.native.context == got
    engine.unload(model)


def test_a_broken_model_is_refused_with_what_the_library_says(
    gguf_file: Any, engine: LlamaEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = gguf_file(tmp_path / "odd.gguf", architecture="nonesuch")
    with pytest.raises(EngineError, match="unknown model architecture") as error:
        engine.load(ModelFiles(id="odd", files={"model": [path]}))
    assert not error.value.retryable
    assert capfd.readouterr() == ("", "")


def test_loading_and_answering_print_nothing(
    engine: LlamaEngine, tiny: Path, job: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    model = engine.load(ModelFiles(id="t", files={"model": [tiny]}))
    engine.run(job(model=model, max_tokens=8, json_schema={"type": "boolean"}))
    engine.unload(model)
    assert capfd.readouterr() == ("", "")


def test_unloading_twice_is_fine(engine: LlamaEngine, tiny: Path) -> None:
    model = engine.load(ModelFiles(id="t", files={"model": [tiny]}))
    engine.unload(model)
    engine.unload(model)
