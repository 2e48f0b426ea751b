from __future__ import annotations

from typing import Any

import pytest

from studio_worker.wire import json_schema
from studio_worker.wire.json_schema import check_schema
from studio_worker.wire.patterns import check_pattern

NAME = "abcdefghijklm"


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def bomb(levels: int) -> dict[str, Any]:
    steps = {
        f"s{level}": {"allOf": [{"$ref": f"#/$defs/s{level + 1}"}, {"$ref": f"#/$defs/s{level + 1}"}]}
        for level in range(levels)
    }
    return {"$ref": "#/$defs/s0", "$defs": {**steps, f"s{levels}": {}}}


def chain(length: int) -> dict[str, Any]:
    links = {f"s{index}": {"$ref": f"#/$defs/s{index + 1}"} for index in range(length)}
    return {"$ref": "#/$defs/s0", "$defs": {**links, f"s{length}": {}}}


def spelled(count: int) -> list[dict[str, str]]:
    """References to one definition, no two of them written alike."""
    names = (
        "".join(f"%{ord(char):02x}" if index >> place & 1 else char for place, char in enumerate(NAME))
        for index in range(count)
    )
    return [{"$ref": f"#/$defs/{name}"} for name in names]


def listed(schema: Any, depth: int) -> Any:
    for _ in range(depth):
        schema = [schema]
    return schema


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """The first argument of each call of a function that the check makes use of."""
    calls: list[Any] = []
    inner = getattr(json_schema, name)

    def count(first: Any, *rest: Any) -> Any:
        calls.append(first)
        return inner(first, *rest)

    monkeypatch.setattr(json_schema, name, count)
    return calls


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ([], "must be a JSON Schema object"),
        ("string", "must be a JSON Schema object"),
        (5, "must be a JSON Schema object"),
        ({"$ref": "#"}, "leads"),
        ({"properties": {"child": {"$ref": "#"}}}, "leads"),
        ({"properties": {"default": {"$ref": "#"}}}, "leads"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "leads back to itself"),
        (
            {
                "$ref": "#/$defs/a",
                "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}},
            },
            "leads back to itself",
        ),
        ({"properties": {"a": {"items": {"$ref": "#/properties/a"}}}}, "leads back to itself"),
        ({"$ref": "https://evil.example/schema.json"}, "leaves the schema"),
        ({"items": {"$ref": "other.json#/a"}}, "leaves the schema"),
        ({"$ref": "//169.254.169.254/"}, "leaves the schema"),
        ({"$dynamicRef": "file:///etc/passwd"}, "leaves the schema"),
        ({"$ref": 5}, "leaves the schema"),
        ({"$ref": "#/$defs/nowhere"}, "points nowhere"),
        ({"allOf": [{}], "items": {"$ref": "#/allOf/7"}}, "points nowhere"),
        ({"$ref": "#anchor"}, "leads to no schema of its own"),
        ({"title": "t", "items": {"$ref": "#/title"}}, "leads to no schema of its own"),
        (nested(65), "nested deeper than 64"),
        (nested(500), "nested deeper than 64"),
        (chain(400), "nested deeper than 128 levels once"),
        ({"enum": list(range(30_000))}, "more than 20,000 nodes"),
        (bomb(40), "more than 20,000 nodes once"),
        ({"anyOf": spelled(900), "$defs": {NAME: {"anyOf": [{}] * 90}}}, "more than 20,000 nodes once"),
        ({"anyOf": spelled(3_000), "$defs": {NAME: {}}}, "more than 50,000 characters of different references"),
        ({"allOf": [{}], "items": {"$ref": "#/allOf/" + "0" * 5_000}}, "points nowhere"),
        (
            {"anyOf": [{"$ref": f"#/$defs/s{at}"} for at in range(200, 0, -10)], "$defs": chain(200)["$defs"]},
            "128 levels",
        ),
        ({"patternProperties": {str(index): {} for index in range(1_001)}}, "more than 1,000 different patterns"),
        ({"anyOf": [{"pattern": "a" * 990 + str(index)} for index in range(11)]}, "more than 10,000 characters of"),
        ({"pattern": "(a+)+$"}, "two ways"),
        ({"properties": {"a": {"pattern": "(a|a)*"}}}, "two ways"),
        ({"patternProperties": {"(a*)*": {}}}, "two ways"),
        ({"pattern": "a" * 1_001}, "at most 1,000"),
        ({"pattern": "("}, "never closes a group"),
    ],
    ids=range(34),
)
def test_a_schema_that_must_not_reach_a_compiler_is_refused_with_the_reason(schema, reason, within_reason):
    with within_reason(), pytest.raises(ValueError, match=reason) as caught:
        check_schema(schema)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "schema",
    [
        True,
        False,
        {},
        {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}}, "required": ["name"]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
        {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}},
        {"items": {"$ref": "#/$defs/a~1b%20c"}, "$defs": {"a/b c": True}},
        {"items": {"$ref": "#/allOf/0"}, "allOf": [{"minItems": 1}]},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.org/s"},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"const": {"$ref": "https://example.org"}, "default": {"pattern": "(a+)+"}, "examples": [{"$ref": 5}]},
        {"$defs": {"unused": {"$ref": "#/$defs/unused"}}},
        {"enum": ["a", None, 5]},
        nested(64),
        chain(50),
        bomb(8),
        {"anyOf": [*spelled(20), {"$ref": f"#/$defs/{NAME}"}], "$defs": {NAME: {"pattern": "^[a-z]+$"}}},
        {"anyOf": [{"pattern": "^[a-z]{1,9}$"}] * 5_000},
        {"patternProperties": {f"^{index:09}$": {} for index in range(900)}},
        {
            "$ref": "#/$defs/s0",
            "$defs": {f"s{at}": {"x": listed(chain(60)["$defs"][f"s{at}"], 58)} for at in range(61)},
        },
    ],
    ids=range(20),
)
def test_an_ordinary_schema_is_taken(schema):
    check_schema(schema)


def test_what_is_referred_to_is_walked_once_however_it_is_spelled(monkeypatch):
    checked = counted(monkeypatch, "check_pattern")
    target = {"patternProperties": {f"{index}": {} for index in range(50)}}
    check_schema({"anyOf": spelled(100), "$defs": {NAME: target}})
    assert len(checked) == 50


def test_references_are_followed_until_their_sum_passes_the_bound_and_no_further(monkeypatch):
    followed = counted(monkeypatch, "_resolve")
    with pytest.raises(ValueError, match="more than 20,000 nodes once"):
        check_schema({"anyOf": spelled(1_000), "$defs": {NAME: {"anyOf": [{}] * 1_000}}})
    assert len(followed) == 20


def test_patterns_are_checked_once_each_and_up_to_the_budget(monkeypatch):
    checked = counted(monkeypatch, "check_pattern")
    check_schema({"anyOf": [{"pattern": "a"}, {"patternProperties": {"a": {}, "b": {}}}] * 1_000})
    assert checked == ["a", "b"]
    checked.clear()
    with pytest.raises(ValueError, match="different patterns"):
        check_schema({"patternProperties": {f"{'a?' * 300}{index}": {} for index in range(19_000)}})
    assert len(checked) == 17
    checked.clear()
    with pytest.raises(ValueError, match="different patterns"):
        check_schema({"patternProperties": {str(index): {} for index in range(19_000)}})
    assert len(checked) == 1_000


def test_a_pattern_past_its_own_bound_says_so_before_the_budget():
    with pytest.raises(ValueError, match="20,000 characters, at most 1,000"):
        check_schema({"pattern": "a" * 20_000})
    check_pattern("a" * 1_000)
