"""Each schema's grammar is run by llama.cpp on noise, and what comes out is held against the schema."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studio_worker_llama import LlamaEngine
from studio_worker_llama.json_grammar import json_grammar
from studio_worker_llama.sampling import JsonGuide

from studio_worker import BadInput


def answers(engine: LlamaEngine, job: Any, schema: Any, *, number: int = 3, max_tokens: int = 120) -> list[Any]:
    """What a model of noise says within the schema."""
    found = []
    for seed in range(number):
        made = job(json_schema=schema, seed=seed, temperature=3.0, max_tokens=max_tokens)
        found.append(json.loads(engine.run(made).json["choices"][0]["message"]["content"]))
    return found


def takes(loaded: Any, schema: Any, text: str) -> bool:
    """Whether the grammar of the schema allows the very text."""
    native = loaded.native
    guide = JsonGuide(native, json_grammar(schema))
    try:
        for byte in text.encode():
            token = next(t for t in range(259, native.vocab_size) if native.piece(t) == bytes([byte]))
            if not guide.allows(token):
                return False
            guide.accept(token)
        return guide.allows(native.eos)
    finally:
        guide.close()


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "boolean"}, ["true", "false"], ["null", '"true"', "tru"]),
        ({"type": "null"}, ["null"], ["0", '""']),
        ({"type": ["string", "null"]}, ["null", '"a"'], ["1"]),
        ({"type": "integer"}, ["0", "-7", "120"], ["01", "1.5", "1e3", "--1"]),
        ({"type": "number"}, ["0", "-7.25", "1e5"], ["01", ".5", "+1"]),
        ({"type": "integer", "minimum": 3, "maximum": 120}, ["3", "9", "10", "99", "120"], ["2", "121", "-3", "03"]),
        ({"type": "integer", "minimum": -12, "exclusiveMaximum": 3}, ["-12", "-1", "0", "2"], ["3", "-13"]),
        ({"type": "integer", "minimum": 0}, ["0", "5", "999999"], ["-1"]),
        ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "1", "0.5", "0.01"], ["1.5", "-0.5", "2"]),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, ["1", "0.5"], ["0", "0.0"]),
        ({"type": "number", "minimum": 0.2, "maximum": 0.4}, ["0.2", "0.3", "0.4"], ["0.1", "0.5", "0"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"abc"', r'"a\n"'], ['"a"', '"abcd"', '"ab']),
        ({"format": "date", "type": "string"}, ['"2024-02-28"'], ['"2024-13-01"', '"24-1-1"']),
        ({"enum": ["a", 1, None, {"b": [2]}]}, ['"a"', "1", "null", '{"b": [2]}'], ['"b"', "2"]),
        ({"const": 'q"\\'}, [r'"q\"\\"'], ['"q"']),
        ({"enum": ["a", 1], "type": "integer"}, ["1"], ['"a"']),
        ({"type": "array", "items": {"type": "boolean"}}, ["[]", "[true]", "[true, false]"], ["[1]", "[true,]"]),
        (
            {"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 3},
            ["[1,1]", "[1,1,1]"],
            ["[1]", "[1,1,1,1]"],
        ),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "items": False}, ["[1,2]"], ["[1,2,3]", "[2,1]"]),
        ({"type": "object", "additionalProperties": False}, ["{}"], ['{"a":1}']),
        ({"type": "object", "additionalProperties": {"const": 1}}, ["{}", '{"x":1, "y": 1}'], ['{"x":2}']),
        (
            {"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]},
            ['{"b":2}', '{"b":2,"a":1}', '{"b":2,"a":1,"c":3}', '{"b":2,"c":3}'],
            ["{}", '{"a":1}', '{"b":2,}', '{"b":2,"d":4}'],
        ),
        (
            {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}},
            ["{}", '{"a":1}', '{"b":2}', '{"a":1,"b":2}'],
            ['{"a":1,"a":1}', "{,}"],
        ),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, ["1", "true"], ["null"]),
        ({"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, ["1", "true"], ["null"]),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 5}}}, ["5"], ["6"]),
        ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 4}]}, ["3", "4"], ["2", "5"]),
        ({"properties": {"a": {"type": "integer"}}, "allOf": [{"required": ["a"]}]}, ['{"a":1}'], ["{}"]),
        (
            {"additionalProperties": {"const": 1}, "maxProperties": 2},
            ["{}", '{"a":1}', '{"a":1,"b":1}'],
            ['{"a":1,"b":1,"c":1}'],
        ),
        ({"type": "object", "maxProperties": 0}, ["{}"], ['{"a":1}']),
        (
            {"properties": {"a": {"const": 1}, "b": {"const": 2}}, "minProperties": 1, "maxProperties": 1},
            ['{"a":1}'],
            ["{}", '{"a":1,"b":2}'],
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"const": 1}}, "additionalProperties": False},
                    {"properties": {"b": {"const": 2}}},
                ]
            },
            ["{}", '{"a":1}'],
            ['{"b":2}', '{"a":1,"b":2}'],
        ),
        ({"allOf": [{"type": "number"}, {"type": "integer"}]}, ["3"], ["3.5", '"3"']),
        ({"type": "array", "items": {"const": 1}, "maxItems": 1}, ["[]", "[1]"], ["[1,1]"]),
        ({"type": "number", "exclusiveMinimum": 16, "maximum": 17}, ["16.5", "17"], ["16", "16.0000000000000001"]),
    ],
)
def test_a_grammar_takes_what_conforms_and_nothing_else(
    loaded: Any, schema: Any, good: list[str], bad: list[str]
) -> None:
    assert {text: takes(loaded, schema, text) for text in good} == dict.fromkeys(good, True)
    assert {text: takes(loaded, schema, text) for text in bad} == dict.fromkeys(bad, False)


def test_two_definitions_with_one_name_are_told_apart(loaded: Any) -> None:
    schema = {
        "properties": {"x": {"$ref": "#/$defs/one/v"}, "y": {"$ref": "#/$defs/two/v"}},
        "required": ["x", "y"],
        "$defs": {"one": {"v": {"const": 1}}, "two": {"v": {"const": 2}}},
    }
    assert takes(loaded, schema, '{"x":1,"y":2}')
    assert not takes(loaded, schema, '{"x":1,"y":1}')


def in_a_text(native: Any, **more: int) -> JsonGuide:
    """A guide whose text has begun."""
    guide = JsonGuide(native, json_grammar({"type": "string", **more}))
    guide.accept(next(t for t in range(259, native.vocab_size) if native.piece(t) == b'"'))
    return guide


@pytest.mark.parametrize("code", ["c1 a1", "e0 80", "ed a0", "f0 80", "f4 90", "80", "ff"])
def test_bytes_that_are_no_text_never_come_up(loaded: Any, code: str) -> None:
    guide = in_a_text(loaded.native)
    *begun, last = (3 + byte for byte in bytes.fromhex(code))
    # A byte's token comes three after its code; some bytes are refused at once, some by what follows.
    for token in begun:
        if not guide.allows(token):
            break
        guide.accept(token)
    else:
        assert not guide.allows(last)
    guide.close()


@pytest.mark.parametrize("text", ["é", "ࠀ", "한", "\U00010000", "\U0010ffff"])
def test_a_character_of_several_tokens_may_come_up_and_be_finished(loaded: Any, text: str) -> None:
    guide = in_a_text(loaded.native, minLength=1, maxLength=1)
    for number, byte in enumerate(text.encode()):
        ending = guide.closing()
        assert ending is not None
        if number:
            # The bytes that are missing, and the quote.
            assert len(ending) == len(text.encode()) - number + 1
        assert guide.allows(3 + byte)
        guide.accept(3 + byte)
    assert [loaded.native.piece(token) for token in guide.closing() or []] == [b'"']
    guide.close()


def test_a_control_token_is_no_part_of_an_answer(loaded: Any) -> None:
    guide = in_a_text(loaded.native, minLength=3, maxLength=9)
    # The library would take its name, "<s>", which nobody is ever shown.
    assert not guide.allows(loaded.native.bos)
    guide.close()


def test_a_text_never_holds_a_raw_line_break(loaded: Any) -> None:
    guide = in_a_text(loaded.native)
    assert not guide.allows(3 + ord("\n"))
    assert guide.allows(3 + ord("a"))
    guide.close()


@pytest.mark.parametrize("schema", [True, {}, {"title": "anything"}])
def test_a_schema_that_asks_for_nothing_gets_any_json(engine: LlamaEngine, job: Any, schema: Any) -> None:
    assert len(answers(engine, job, schema)) == 3


def test_dates_and_ids_have_their_form(engine: LlamaEngine, job: Any) -> None:
    for form, pattern in (("uuid", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), ("time", r"\d\d:\d\d:\d\dZ")):
        for value in answers(engine, job, {"type": "string", "format": form}):
            assert re.fullmatch(pattern, value)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "string", "pattern": "^a+$"}, "task.jsonSchema.pattern"),
        ({"not": {}}, "task.jsonSchema.not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "integer", "multipleOf": 3}, "multipleOf"),
        ({"properties": {"a": {"contains": 1}}}, "task.jsonSchema.a.contains"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, "oneOf: its alternatives may both fit"),
        ({"oneOf": [{"const": 1}, {"enum": [1, 2]}]}, "oneOf"),
        (False, "nothing conforms"),
        ({"enum": []}, "nothing conforms"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no whole number"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems"),
        ({"required": ["a", "b"], "maxProperties": 1}, "maxProperties"),
        ({"enum": [1], "minimum": 0}, "minimum: cannot be kept beside enum"),
        ({"type": "text"}, "'text' is no type of JSON"),
        ({"$ref": "#/nowhere"}, "points nowhere"),
        ({"allOf": [{"format": "date"}, {"format": "time"}]}, "asked for twice"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(schema: Any, problem: str) -> None:
    with pytest.raises(BadInput) as error:
        json_grammar(schema)
    assert problem in str(error.value)


def test_alternatives_with_other_fixed_members_are_exclusive(loaded: Any) -> None:
    def branch(kind: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}

    assert takes(loaded, {"oneOf": [branch("a"), branch("b")]}, '{"kind":"b"}')


@settings(max_examples=25)
@given(st.integers(-500, 500), st.integers(0, 300), st.integers(-900, 900))
def test_bounds_of_whole_numbers_are_exact(loaded: Any, low: int, span: int, number: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": low + span}
    assert takes(loaded, schema, str(number)) == (low <= number <= low + span)
    assert takes(loaded, schema, str(low))
    assert takes(loaded, schema, str(low + span))


@settings(max_examples=25)
@given(st.integers(-50, 50), st.integers(0, 40), st.decimals(-90, 90, places=2, allow_nan=False))
def test_bounds_of_numbers_are_never_left(loaded: Any, low: int, span: int, number: Any) -> None:
    schema = {"type": "number", "minimum": low, "maximum": low + span}
    if takes(loaded, schema, str(number)):
        assert low <= number <= low + span


@pytest.mark.parametrize("members", [5, 200])
def test_a_grammar_grows_no_faster_than_its_schema(members: int) -> None:
    schema = {"properties": {f"member{number}": {"type": "string"} for number in range(members)}}
    assert len(json_grammar(schema).text) < 200 * members + 1_000
