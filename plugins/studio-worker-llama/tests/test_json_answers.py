"""Whatever the schema, a model of noise answers in JSON that conforms: held against the reference validator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from studio_worker_llama import LlamaEngine

from studio_worker import BadInput, EngineJob

NAMES = st.sampled_from(["a", "b", "name", "é", 'q"', "long name"])
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=6)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), WORDS)


def ranged(low: str, high: str, least: int, most: int) -> st.SearchStrategy[dict[str, int]]:
    """Two bounds that leave room."""
    pair = st.tuples(st.integers(least, most), st.integers(0, most)).map(lambda two: {low: two[0], high: sum(two)})
    return st.one_of(
        st.just({}), pair, pair.map(lambda both: {low: both[low]}), pair.map(lambda both: {high: both[high]})
    )


LEAVES = st.one_of(
    st.sampled_from(
        [{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": ["integer", "boolean"]}]
    ),
    st.lists(VALUES, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    VALUES.map(lambda value: {"const": value}),
    ranged("minLength", "maxLength", 0, 12).map(lambda more: {"type": "string", **more}),
    ranged("minimum", "maximum", -50, 500).map(lambda more: {"type": "integer", **more}),
    ranged("exclusiveMinimum", "maximum", -50, 500).map(lambda more: {"type": "number", **more}),
    st.sampled_from(["date", "time", "date-time", "uuid"]).map(lambda form: {"type": "string", "format": form}),
)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas that hold others."""
    members = st.dictionaries(NAMES, inner, min_size=1, max_size=4)
    objects = members.flatmap(
        lambda named: st.lists(st.sampled_from(sorted(named)), unique=True).map(
            lambda required: {
                "type": "object",
                "properties": named,
                "required": required,
                "additionalProperties": False,
            }
        )
    )
    free = st.tuples(inner, ranged("minProperties", "maxProperties", 0, 1)).map(
        lambda both: {"type": "object", "additionalProperties": both[0], **both[1]}
    )
    arrays = st.tuples(inner, ranged("minItems", "maxItems", 0, 3)).map(
        lambda both: {"type": "array", "items": both[0], **both[1]}
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda heads: {"type": "array", "prefixItems": heads, "items": False, "minItems": len(heads)}
    )
    choices = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        objects,
        free,
        arrays,
        tuples,
        choices.map(lambda branches: {"anyOf": branches}),
        choices.map(lambda branches: {"oneOf": branches}),
        members.map(
            lambda named: {"allOf": [{"type": "object", "properties": named}, {"required": sorted(named)[:1]}]}
        ),
    )


SCHEMAS = st.tuples(st.recursive(LEAVES | st.just({"$ref": "#/$defs/part"}), larger, max_leaves=6), LEAVES).map(
    lambda both: {**both[0], "$defs": {"part": both[1]}}
)
STOPS = st.lists(st.sampled_from(["a", "1", "é", '",', "[["]), max_size=2)
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]


@settings(max_examples=150, suppress_health_check=QUIET)
@given(schema=SCHEMAS, seed=st.integers(0, 10**6), tokens=st.integers(1, 180), stops=STOPS)
def test_what_is_answered_conforms_and_what_cannot_be_is_refused(
    engine: LlamaEngine, job: Callable[..., EngineJob], schema: Any, seed: int, tokens: int, stops: list[str]
) -> None:
    made = job(json_schema=schema, seed=seed, temperature=3.0, max_tokens=tokens, stop=stops or None)
    try:
        *deltas, result = engine.stream(made)
    except BadInput as refusal:
        event(str(refusal).partition(":")[0].partition("Schema")[0])
        return
    content = result.json["choices"][0]["message"]["content"]
    Draft202012Validator(schema).validate(json.loads(content))
    assert "".join(delta.text for delta in deltas) == content
    assert result.json["usage"]["completion_tokens"] <= tokens
    assert not any(stop in content for stop in stops)
