from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from studio_worker.wire.base import (
    MAX_SHOWN,
    FreeJson,
    FreeObject,
    WireModel,
    bad_claim,
    bounded_text,
    matching,
    number,
    whole,
)


class Inner(WireModel):
    some_flag: bool | None = None


class Sample(WireModel):
    some_count: Annotated[int, whole(1, 10)] = 5
    some_share: Annotated[float, number(0, 1)] | None = None
    above_zero: Annotated[float, number(0, 2, above=True)] | None = None
    some_text: Annotated[str, bounded_text(10)] | None = None
    any_text: Annotated[str, bounded_text(10, may_be_blank=True)] | None = None
    some_code: Annotated[str, matching(r"[a-z]+", "small letters")] | None = None
    free: FreeJson | None = None
    table: FreeObject | None = None
    parts: Annotated[tuple[Inner, ...], Field(strict=False, max_length=2)] = ()


def refusal(**fields: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Sample.from_wire(fields)
    error = bad_claim(caught.value, "thing")
    return error.field, error.problem


def test_keys_are_camel_case_outside_and_snake_case_inside():
    sample = Sample.from_wire({"someCount": 3, "parts": [{"someFlag": True}]})
    assert (sample.some_count, sample.parts[0].some_flag) == (3, True)
    assert sample.to_wire() == {"someCount": 3, "parts": [{"someFlag": True}]}


def test_a_snake_case_key_is_an_unknown_key_on_the_wire():
    assert Sample.from_wire({"some_count": "nonsense", "parts": [{"some_flag": 5}]}) == Sample(parts=(Inner(),))


def test_unknown_keys_are_ignored():
    assert Sample.from_wire({"someCount": 3, "tomorrow": {"deep": [1]}}) == Sample(some_count=3)


def test_a_null_reads_as_absent():
    sample = Sample.from_wire({"someCount": None, "someText": None})
    assert sample == Sample()
    assert sample.model_fields_set == set()


def test_an_absent_field_is_omitted_and_nulls_of_other_people_are_kept():
    assert Sample(free={"a": None, "b": [None]}).to_wire() == {
        "someCount": 5,
        "free": {"a": None, "b": [None]},
        "parts": [],
    }


def test_a_model_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Sample().some_count = 4  # type: ignore[misc]


@pytest.mark.parametrize("value", [0, 11, 1.0, "5", True, 2**64, -1, [], {}])
def test_a_whole_number_is_refused_with_its_range(value):
    field, problem = refusal(someCount=value)
    assert field == "thing.someCount"
    assert problem.startswith("must be a whole number from 1 to 10")


@pytest.mark.parametrize("value", [-0.1, 1.0001, "1", True, math.nan, math.inf, 10**400, []], ids=range(8))
def test_a_number_is_refused_with_its_range(value):
    field, problem = refusal(someShare=value)
    assert field == "thing.someShare"
    assert problem.startswith("must be a number from 0 to 1")


def test_a_range_may_leave_out_its_low_end():
    assert refusal(aboveZero=0) == ("thing.aboveZero", "must be a number above 0 up to 2 (got 0)")
    assert Sample.from_wire({"aboveZero": 0.001}).above_zero == 0.001


def test_an_integer_is_taken_where_a_number_is_asked_and_becomes_one():
    assert type(Sample.from_wire({"someShare": 1}).some_share) is float


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty (got '')"),
        (" \t\n", "is empty (got ' \\t\\n')"),
        ("\0\0", "is empty (got '\\x00\\x00')"),
        ("x" * 11, "has 11 characters, at most 10 are allowed (got 'xxxxxxxxxxx')"),
        (5, "must be text (got 5)"),
        (["x"], "must be text"),
    ],
)
def test_a_text_is_refused_with_what_is_wrong(text, problem):
    assert refusal(someText=text) == ("thing.someText", problem)


def test_a_text_that_may_be_blank_may_be_blank():
    assert Sample.from_wire({"anyText": ""}).any_text == ""


def test_a_pattern_must_match_the_whole_text():
    assert refusal(someCode="ab\n") == ("thing.someCode", "must be small letters (got 'ab\\n')")


def test_look_alike_letters_show_in_an_error():
    assert refusal(someCode="sd-сpp")[1] == "must be small letters (got 'sd-\\u0441pp')"


@pytest.mark.parametrize("value", ["SECRET" * 20, 10**5_000, "\x1b" * 16], ids=["text", "number", "escaped"])
def test_a_long_value_is_not_repeated(value):
    problem = refusal(someCode=value)[1] if isinstance(value, str) else refusal(someCount=value)[1]
    assert "got" not in problem


def test_a_value_at_the_limit_is_repeated():
    assert "got" in refusal(someCode="A" * (MAX_SHOWN - 2))[1]
    assert "got" not in refusal(someCode="A" * (MAX_SHOWN - 1))[1]


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ({}, "thing.parts", "must be a list"),
        ([5], "thing.parts.0", "must be an object (got 5)"),
        ([{}, {"someFlag": 1}], "thing.parts.1.someFlag", "must be true or false (got 1)"),
        ([{}, {}, {}], "thing.parts", "must hold at most 2 of them"),
    ],
)
def test_errors_speak_of_lists_and_objects_and_name_the_place(value, field, problem):
    assert refusal(parts=value) == (field, problem)


def test_a_missing_field_is_required():
    class Needy(WireModel):
        some_id: str

    with pytest.raises(ValidationError) as caught:
        Needy.from_wire({"secret": "s3cret"})
    assert str(bad_claim(caught.value)) == "someId: is required"


def test_the_whole_thing_can_be_the_problem():
    with pytest.raises(ValidationError) as caught:
        Sample.from_wire([])
    assert str(bad_claim(caught.value)) == "claim: must be an object"


def test_a_validation_error_itself_repeats_no_input():
    with pytest.raises(ValidationError) as caught:
        Sample.from_wire({"someCode": "s3cret-token"})
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (nested(65), "is nested deeper than 64 levels"),
        (nested(100_000), "is nested deeper than 64 levels"),
        ([math.nan], "holds a number that is not finite"),
        ({"a": {"b": math.inf}}, "holds a number that is not finite"),
        ({"a": "\ud800"}, "holds a lone surrogate"),
        ({"\ud800": 1}, "holds a lone surrogate"),
        ({1: 2}, "has a key that is not text"),
        ([10**20], "holds an integer of more than 20 digits"),
        ([-(10**5_000)], "holds an integer of more than 20 digits"),
        ([b"x"], "holds a bytes, which JSON cannot carry"),
        ([{1, 2}], "holds a set, which JSON cannot carry"),
    ],
    ids=range(11),
)
def test_free_json_is_bounded_and_finite_at_any_depth(value, problem):
    assert refusal(free=value) == ("thing.free", problem)


def test_free_json_of_a_million_values_is_refused_soon():
    shared: Any = 0
    for _ in range(60):
        shared = [shared, shared]
    assert refusal(free=shared) == ("thing.free", "holds more than 1,000,000 values")
    assert refusal(free=[0] * 1_000_001) == ("thing.free", "holds more than 1,000,000 values")


def test_a_free_object_is_an_object():
    assert refusal(table=[1]) == ("thing.table", "must be an object")
    assert refusal(table={"a": [math.nan]}) == ("thing.table", "holds a number that is not finite")


def test_free_json_up_to_the_bound_is_kept_as_it_is():
    value = {"a": nested(63), "t": True, "n": None, "i": 10**20 - 1}
    assert Sample(free=value).to_wire()["free"] == value
