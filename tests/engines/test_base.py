"""What the plugin API gives engine authors beside its names."""

from __future__ import annotations

import pytest

from studio_worker.engines.base import LlmResult
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
