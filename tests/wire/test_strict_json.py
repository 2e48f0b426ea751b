from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.wire import strict_json
from studio_worker.wire.strict_json import NotJson, dumps, dumps_lossy, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20) + 1, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_reads_back_the_same(value):
    assert loads(dumps(value)) == value


@given(JSON)
def test_ascii_escapes_and_bytes_read_like_text(value):
    text = json.dumps(value)
    assert loads(text) == loads(text.encode()) == value


@given(st.text())
def test_no_text_brings_anything_but_a_value_or_not_json(text):
    try:
        loads(text)
    except NotJson:
        pass


@given(st.binary())
def test_no_bytes_bring_anything_but_a_value_or_not_json(data):
    try:
        loads(data)
    except NotJson:
        pass


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ('{"a":', "not JSON"),
        ("{'a':1}", "not JSON"),
        ("\ufeff{}", "not JSON"),
        ('{"a":1,"a":2}', "a repeated key"),
        ('[{"b":{"a":1,"a":1}}]', "a repeated key"),
        ("NaN", "the number NaN"),
        ('{"a":-Infinity}', "the number -Infinity"),
        ("[1e400]", "a number out of range"),
        ("[-1e400]", "a number out of range"),
        ("1" * 101, "an integer of 101 digits"),
        ("-" + "1" * 5_000, "an integer of 5000 digits"),
        ('"\\ud800"', "a lone surrogate"),
        ('"\\uDC00"', "a lone surrogate"),
        ('{"\\ud83d":1}', "a lone surrogate"),
        ('"\ud800"', "a lone surrogate"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("[" * 514 + "]" * 514, "nested too deeply"),
        ("[" + "[]," * 1_000_000 + "0]", "more than 1,000,000 brackets"),
        (b'"\xff"', "invalid UTF-8"),
        ("[1]".encode("utf-16"), "invalid UTF-8"),
        ("[1]".encode("utf-16-le"), "not JSON"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_what_the_contract_forbids_is_refused_with_a_few_words(text, reason):
    with pytest.raises(NotJson, match=reason) as caught:
        loads(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -(2**63), 10**20 - 1])
def test_every_integer_of_the_contract_is_read_exactly(number):
    assert loads(str(number)) == number


def test_a_surrogate_pair_is_one_character():
    assert loads('"\\ud83d\\ude00"') == "\U0001f600"


def test_nesting_up_to_the_bound_is_read_and_can_be_written_again():
    text = "[" * strict_json.MAX_DEPTH + "]" * strict_json.MAX_DEPTH
    assert dumps(loads(text)) == text


def test_many_brackets_beside_each_other_are_no_nesting():
    value = [{"a": [1]}] * 2_000
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_numbers_that_json_cannot_carry_are_not_written(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(value)


@given(st.recursive(st.floats() | st.text() | st.binary() | st.none(), lambda inner: st.lists(inner)))
def test_the_lossy_writer_writes_valid_ascii_json_of_anything(value):
    text = dumps_lossy(value)
    assert text.isascii()
    json.loads(text, parse_constant=pytest.fail)


def test_the_lossy_writer_cuts_what_is_nested_without_end():
    endless: list[object] = []
    endless.append(endless)
    assert "\\u2026" in dumps_lossy(endless)


def test_the_lossy_writer_makes_null_of_nan_and_keeps_the_rest():
    assert json.loads(dumps_lossy({"a": math.nan, "b": (1, math.inf), 3: "x"})) == {"a": None, "b": [1, None], "3": "x"}
