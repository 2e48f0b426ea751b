"""Synthetic answers."""

import json

import pytest

from studio_worker.errors import UnsupportedTask
from studio_worker.wire.results import ChatCompletion


def message(result) -> str:
    return result.json["choices"][0]["message"]["content"]


def reason(result) -> str:
    return result.json["choices"][0]["finish_reason"]


def test_an_answer_has_openais_shape(bench):
    result = bench.make("llm")
    ChatCompletion.model_validate(result.json)
    assert (result.json["object"], result.json["model"]) == ("chat.completion", "synthetic-llm")
    assert result.json["choices"][0]["index"] == 0
    assert result.json["choices"][0]["message"]["role"] == "assistant"
    assert reason(result) == "stop"
    assert message(result).startswith("[synthetic] reply to prompt #")


def test_usage_counts_words(bench):
    result = bench.make("llm", system="be brief")
    usage = result.json["usage"]
    assert usage["prompt_tokens"] == len(["what", "is", "a", "lighthouse", "for"]) + 2
    assert usage["completion_tokens"] == len(message(result).split())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "another"}]},
        {"messages": [{"role": "system", "content": "what is a lighthouse for"}]},
        {"messages": [{"role": "user", "content": "what is"}, {"role": "user", "content": "a lighthouse for"}]},
        {"system": "be brief"},
    ],
)
def test_another_conversation_gets_another_answer(change, bench):
    assert message(bench.make("llm")) != message(bench.make("llm", **change))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_max_tokens_is_honoured_and_named_as_the_reason(most, bench):
    result = bench.make("llm", maxTokens=most)
    assert result.json["usage"]["completion_tokens"] == most
    assert reason(result) == "length"
    assert message(bench.make("llm")).startswith(message(result))


def test_an_answer_of_just_max_tokens_was_not_cut(bench):
    words = bench.make("llm").json["usage"]["completion_tokens"]
    assert reason(bench.make("llm", maxTokens=words)) == "stop"


def test_a_stop_text_ends_the_answer_before_it(bench):
    result = bench.make("llm", stop=["nowhere", "to prompt", "reply"])
    assert message(result) == "[synthetic] "
    assert reason(result) == "stop"


# JSON schemas

SCHEMAS = {
    "an object": (
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 3}, "x": {"type": "null"}},
            "required": ["name", "age"],
        },
        {"name": "synthetic", "age": 3},
    ),
    "an array": ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
    "a tuple": ({"type": "array", "prefixItems": [{"const": 1}, {"type": "null"}], "minItems": 2}, [1, None]),
    "an empty array": ({"type": "array", "items": {"type": "boolean"}}, []),
    "a choice": ({"enum": ["red", "green"]}, "red"),
    "a constant": ({"const": {"a": [1]}}, {"a": [1]}),
    "one of several types": ({"type": ["integer", "null"]}, 0),
    "any of": ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 0),
    "one of": ({"oneOf": [{"type": "null"}, {"type": "string"}]}, None),
    "a reference": (
        {
            "$defs": {"a/b": {"type": "string", "maxLength": 3}},
            "type": "object",
            "required": ["p"],
            "properties": {"p": {"$ref": "#/$defs/a~1b"}},
        },
        {"p": "syn"},
    ),
    "all of": (
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
                {"properties": {"b": {"const": 2}}, "required": ["b"]},
            ]
        },
        {"a": 1, "b": 2},
    ),
    "true": (True, {}),
    "nothing said": ({}, {}),
    "a type implied by items": ({"items": {"const": 7}, "minItems": 1}, [7]),
    "a long string": ({"type": "string", "minLength": 12}, "synthetic..."),
    "an empty string": ({"type": "string", "maxLength": 0}, ""),
    "a date": ({"type": "string", "format": "date"}, "2000-01-01"),
    "a number above": ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0.5),
    "a number below": ({"type": "integer", "exclusiveMaximum": 0}, -1),
    "a negative range": ({"type": "number", "minimum": -9, "maximum": -4.5}, -9),
    "a multiple": ({"type": "integer", "minimum": 7, "multipleOf": 5}, 10),
    "a required name without a schema": ({"type": "object", "required": ["x"]}, {"x": {}}),
    "a required name of the additional ones": (
        {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}},
        {"x": 0},
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_gets_the_smallest_value_that_fits(name, bench):
    schema, value = SCHEMAS[name]
    result = bench.make("llm", jsonSchema=schema)
    assert json.loads(message(result)) == value
    assert reason(result) == "stop"


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "string", "pattern": "^a$"},
        {"not": {"type": "string"}},
        {"if": {}, "then": {}},
        {"type": "array", "contains": {"type": "null"}},
        {"type": "array", "uniqueItems": True, "minItems": 2},
        {"type": "array", "minItems": 10_000},
        {"type": "object", "minProperties": 1},
        {"type": "object", "required": ["a"], "patternProperties": {"a": {}}},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"type": "integer", "multipleOf": 0.5},
        {"type": "number", "minimum": 2, "maximum": 1},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"anyOf": [True]},
        {"type": "colour"},
    ],
    ids=json.dumps,
)
def test_a_schema_that_cannot_be_filled_is_refused_by_its_part(schema, bench):
    with pytest.raises(UnsupportedTask, match="cannot fill a JSON schema with"):
        bench.make("llm", jsonSchema=schema)


LONG = {"const": "x" * 2_000}


@pytest.mark.parametrize(
    "schema",
    [
        {"minItems": 1_000, "items": {"minItems": 1_000, "items": {"type": "null"}}},
        {"minItems": 1_000, "items": {"type": "string", "minLength": 1_000}},
        {"minItems": 1_000, "items": LONG},
        {"minItems": 1_000, "items": {"enum": [LONG]}},
        {"allOf": [{"required": [f"x{index}"], "properties": {f"x{index}": {}}} for index in range(1_000)]},
        {"minItems": 1_000, "items": {"required": ["a"] * 1_000, "properties": {"a": {}}}},
    ],
    ids=["lists of lists", "long texts", "const", "enum", "merged", "required again and again"],
)
def test_a_schema_of_bounds_that_multiply_is_refused_before_memory_is_full(schema, bench):
    with pytest.raises(UnsupportedTask, match="more than 200,000 steps or characters"):
        bench.make("llm", jsonSchema=schema)
