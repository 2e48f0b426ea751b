"""What a schema asks for, once its references and its parts are put in their places."""

from __future__ import annotations

from typing import Any

import pytest
from studio_worker_llama.json_grammar import json_grammar
from studio_worker_llama.json_schema import TYPES, are_disjoint, is_of, merge, resolve, same, types_of

from studio_worker import BadInput

HERE = "task.jsonSchema"


def resolved(schema: Any, root: Any = None) -> dict[str, Any]:
    return resolve(schema, schema if root is None else root, HERE)


def refused(schema: Any) -> str:
    with pytest.raises(BadInput) as error:
        json_grammar(schema)
    return str(error.value)


def test_a_reference_is_put_in_its_place() -> None:
    root = {"$defs": {"a b/c~d": {"type": "integer"}}, "$ref": "#/$defs/a%20b~1c~0d", "title": "T"}
    assert resolved(root) == {"type": "integer"}


def test_a_reference_may_point_into_a_list() -> None:
    assert resolved({"$ref": "#/x/1"}, {"x": [{}, {"const": 2}]}) == {"const": 2}


def test_true_and_one_are_different_wishes() -> None:
    with pytest.raises(BadInput, match="asked for twice in different ways"):
        merge({"const": True}, {"const": 1}, HERE)
    assert merge({"const": 1}, {"const": 1.0}, HERE) == {"const": 1}
    wishes = [{"properties": {"a": {"const": value}}} for value in (True, 1)]
    with pytest.raises(BadInput, match="asked for twice in different ways"):
        json_grammar({"type": "object", "allOf": wishes, "required": ["a"]})


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J\u202e", "n" * 5_000])
@pytest.mark.parametrize("form", ["member", "type", "reference", "way round"])
def test_a_name_that_no_line_can_hold_is_shown_in_part_and_escaped(name: str, form: str) -> None:
    way_round = {"$ref": f"#/$defs/{name}", "$defs": {name: {"$ref": f"#/$defs/{name}"}}}
    schemas: dict[str, Any] = {
        "member": {"properties": {name: {"not": {}}}},
        "type": {"type": name},
        "reference": {"$ref": name},
        "way round": way_round,
    }
    said = refused(schemas[form])
    assert said.isprintable()
    assert len(said) < 300


@pytest.mark.parametrize("reference", ["#/no", "#/x/5", "#/x/one", "#/x/1/y"])
def test_a_reference_that_points_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(BadInput, match=r"task\.jsonSchema\.\$ref: .* points nowhere"):
        resolved({"$ref": reference}, {"x": [{}, 3]})


@pytest.mark.parametrize("reference", ["https://schemas.example/a.json", "other.json#/a", "/x"])
def test_a_reference_out_of_the_document_is_refused(reference: str) -> None:
    assert "leaves the schema; nothing is fetched" in refused({"properties": {"a": {"$ref": reference}}})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"type": "object"}, {"$ref": "#/$defs/a"}]}}},
    ],
)
def test_a_reference_to_itself_is_refused_by_its_place(schema: Any) -> None:
    assert refused(schema).startswith("task.jsonSchema.$ref: #")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"child": {"$ref": "#"}}}, "task.jsonSchema.child"),
        ({"type": "array", "items": {"$ref": "#"}}, "task.jsonSchema.items"),
        ({"anyOf": [{"type": "null"}, {"prefixItems": [{"$ref": "#"}]}]}, "task.jsonSchema.anyOf.prefixItems"),
        (
            {
                "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}},
                "properties": {"n": {"$ref": "#/$defs/node"}},
            },
            "task.jsonSchema.n.next",
        ),
    ],
)
def test_a_schema_that_holds_itself_is_refused_by_its_place(schema: Any, place: str) -> None:
    said = refused(schema)
    assert said.startswith(f"{place}: ")
    assert "holds itself" in said


def test_the_same_part_twice_is_no_recursion() -> None:
    part = {"$ref": "#/$defs/part"}
    json_grammar({"properties": {"a": part, "b": {"items": part}}, "$defs": {"part": {"properties": {"c": part_c()}}}})


def part_c() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("keyword", "value", "must"),
    [
        ("type", 5, "a type or a list of types"),
        ("type", [1], "a type or a list of types"),
        ("enum", "abc", "a list"),
        ("properties", [], "named schemas"),
        ("properties", {"a": 1}, "named schemas"),
        ("required", "name", "a list of names"),
        ("required", [1], "a list of names"),
        ("additionalProperties", "no", "a schema"),
        ("items", 3, "a schema"),
        ("prefixItems", {}, "a list of schemas"),
        ("minLength", -1, "a whole number from 0"),
        ("maxLength", "9", "a whole number from 0"),
        ("minItems", 1.5, "a whole number from 0"),
        ("maxItems", True, "a whole number from 0"),
        ("maxProperties", None, "a whole number from 0"),
        ("minimum", "3", "a number"),
        ("exclusiveMaximum", True, "a number"),
        ("format", 1, "a text"),
        ("anyOf", {}, "a list of schemas"),
        ("oneOf", [], "a list of schemas"),
        ("allOf", [3], "a list of schemas"),
        ("$ref", 7, "a text"),
    ],
)
def test_a_keyword_with_a_wrong_value_is_refused_by_its_place(keyword: str, value: Any, must: str) -> None:
    assert refused({"properties": {"a": {keyword: value}}}) == f"task.jsonSchema.a.{keyword}: must be {must}"


@pytest.mark.parametrize("schema", [3, None, "x", []])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    assert refused(schema) == "task.jsonSchema: is no schema"


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert "{2,3}" in json_grammar({"type": "string", "minLength": 2.0, "maxLength": 3.0}).text


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        ({"minimum": 3}, {"minimum": 5}, {"minimum": 5}),
        ({"maxItems": 3}, {"maxItems": 2}, {"maxItems": 2}),
        ({"type": "number"}, {"type": "integer"}, {"type": ["integer"]}),
        ({"type": ["string", "integer"]}, {"type": ["number", "null"]}, {"type": ["integer"]}),
        ({"type": "string"}, {"type": "null"}, {"type": []}),
        ({"enum": [1, 2, "a"]}, {"enum": ["a", 2.0]}, {"enum": [2, "a"]}),
        ({"required": ["a"]}, {"required": ["b"]}, {"required": ["a", "b"]}),
        ({"type": "string"}, {"minLength": 2}, {"type": "string", "minLength": 2}),
        ({"additionalProperties": False}, {"additionalProperties": {}}, {"additionalProperties": False}),
    ],
)
def test_two_schemas_become_what_both_ask_for(one: Any, two: Any, both: Any) -> None:
    assert merge(one, two, HERE) == both


def test_members_that_both_name_must_fit_both() -> None:
    merged = merge({"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"maximum": 2}, "b": {}}}, HERE)
    assert merged["properties"] == {"a": {"allOf": [{"minimum": 1}, {"maximum": 2}]}, "b": {}}


def test_a_member_that_one_forbids_is_forbidden() -> None:
    merged = merge({"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}, HERE)
    assert merged["properties"] == {"a": {}, "b": False}


def test_a_member_that_one_bounds_is_bounded() -> None:
    merged = merge({"additionalProperties": {"type": "integer"}}, {"properties": {"b": {"maximum": 3}}}, HERE)
    assert merged["properties"]["b"] == {"allOf": [{"type": "integer"}, {"maximum": 3}]}


def test_asking_twice_for_what_cannot_be_put_together_is_refused() -> None:
    with pytest.raises(BadInput, match=r"task\.jsonSchema\.format: is asked for twice in different ways"):
        merge({"format": "date"}, {"format": "time"}, HERE)


def test_a_required_member_that_is_forbidden_leaves_nothing() -> None:
    closed = {"type": "object", "properties": {"a": {}}, "additionalProperties": False}
    assert "nothing conforms" in refused({"allOf": [closed, {"properties": {"b": {}}, "required": ["b"]}]})


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({}, [name for name in TYPES if name != "integer"]),
        ({"type": ["integer", "number", "integer"]}, ["number"]),
        ({"maxProperties": 1}, ["object"]),
        ({"minItems": 1}, ["array"]),
        ({"format": "date"}, ["string"]),
        ({"maximum": 1}, ["number"]),
        ({"const": 1}, [name for name in TYPES if name != "integer"]),
    ],
)
def test_a_value_is_made_in_the_types_that_the_keywords_speak_of(schema: Any, types: list[str]) -> None:
    assert types_of(schema, HERE) == types


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (1, {"integer", "number"}),
        (1.0, {"integer", "number"}),
        (1.5, {"number"}),
        (True, {"boolean"}),
        (None, {"null"}),
        ("1", {"string"}),
        ([], {"array"}),
        ({}, {"object"}),
    ],
)
def test_a_value_has_the_types_that_json_schema_gives_it(value: Any, types: set[str]) -> None:
    assert {name for name in TYPES if is_of(value, name)} == types


@pytest.mark.parametrize(("one", "two", "are"), [(1, 1.0, True), ([1.0], [1], True), (1, True, False), ("1", 1, False)])
def test_values_are_the_same_where_json_schema_says_so(one: Any, two: Any, are: bool) -> None:
    assert same(one, two) is are


def kind(value: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": {"const": value}}, "required": ["kind"], **more}


@pytest.mark.parametrize(
    ("branches", "are"),
    [
        ([{"type": "integer"}, {"type": "string"}], True),
        ([{"type": "integer"}, {"type": "number"}], False),
        ([{"type": "string"}, {"minimum": 3}], False),
        ([{"minimum": 3}, {"type": "string"}], False),
        ([{"const": 1}, {"enum": [2, 3]}], True),
        ([{"const": 1}, {"const": 1.0}], False),
        ([{"const": 1}, {"type": "string"}], True),
        ([{"const": "x"}, {"type": "string"}], False),
        ([kind("a"), kind("b"), kind("c")], True),
        ([kind("a"), kind("a")], False),
        ([kind("a", type=["object", "null"]), kind("b", type=["object", "null"])], False),
        ([kind("a"), kind("b", required=[])], False),
        ([{}, {"type": "string"}], False),
    ],
)
def test_alternatives_are_disjoint_where_nothing_that_is_made_for_one_fits_another(branches: Any, are: bool) -> None:
    assert are_disjoint(branches) is are
