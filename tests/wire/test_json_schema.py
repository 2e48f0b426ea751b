from __future__ import annotations

from typing import Any

import pytest

from studio_worker.wire.json_schema import check_schema


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
        ({"pattern": "(a+)+$"}, "two ways"),
        ({"properties": {"a": {"pattern": "(a|a)*"}}}, "two ways"),
        ({"patternProperties": {"(a*)*": {}}}, "two ways"),
        ({"pattern": "a" * 1_001}, "at most 1,000"),
        ({"pattern": "("}, "never closes a group"),
    ],
    ids=range(28),
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
    ],
    ids=range(16),
)
def test_an_ordinary_schema_is_taken(schema):
    check_schema(schema)
