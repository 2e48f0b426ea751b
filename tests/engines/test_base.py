"""What the plugin API gives engine authors beside its names."""

from __future__ import annotations

import pytest

from studio_worker.engines.base import EngineCapabilities, LlmResult
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import ChatCompletion


def test_a_completion_of_a_text_has_the_shape_that_studios_read():
    made = LlmResult.of("Aye.", model="m-1", prompt_tokens=3, completion_tokens=2)
    read = ChatCompletion.model_validate(made.json)
    assert (read.model, read.choices[0].message.content, read.choices[0].finish_reason) == ("m-1", "Aye.", "stop")
    assert read.usage.total_tokens == 5


def test_reasoning_stands_apart_and_is_left_out_where_there_is_none():
    thought = LlmResult.of("Aye.", model="m", prompt_tokens=1, completion_tokens=2, reasoning="Hm.")
    assert thought.json["choices"][0]["message"]["reasoning_content"] == "Hm."
    plain = LlmResult.of("Aye.", model="m", prompt_tokens=1, completion_tokens=2)
    assert "reasoning_content" not in plain.json["choices"][0]["message"]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_the_reason_of_the_end_is_told(reason):
    made = LlmResult.of("", model="m", prompt_tokens=1, completion_tokens=0, finish_reason=reason)
    assert made.json["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (["fox-1"], "models is a list; such as {TaskKind.LLM: ['an-id']} is needed"),
        ({TaskKind.LLM: "fox-1"}, "the models of llm are 'fox-1'; a list of model ids is needed"),
        ({"llm": 5}, "the models of llm are 5; a list of model ids is needed"),
        ({TaskKind.LLM: ["fox-1", None]}, "None is no model id of llm; a text is needed"),
    ],
    ids=["no mapping", "a text", "a number", "no text"],
)
def test_models_of_the_wrong_type_are_refused_where_they_are_written(models, sentence):
    with pytest.raises(TypeError) as refused:
        EngineCapabilities(models)
    assert str(refused.value) == sentence


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"there is no kind 'tts'; there are image, llm, .*audio_tts"):
        EngineCapabilities({"tts": ["fox-1"]})


def test_a_kind_may_have_no_models_which_then_come_by_source():
    assert EngineCapabilities({"llm": []}).kinds == (TaskKind.LLM,)
