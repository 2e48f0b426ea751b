"""What a JSON schema asks for, before a grammar is made of it.

References and `allOf` are put in their places, so that what is left are keywords that shape a value. A keyword that
cannot be kept while an answer is made, or that is no keyword's value at all, is refused by its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from studio_worker import BadInput
from studio_worker_llama.shown_names import MAX_SHOWN, shown

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
"""JSON's types, as schemas call them."""

SHAPING = (
    *("type", "enum", "const", "properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    *("items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
)
"""Keywords that shape a value."""

_REFUSED = (
    *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems"),
    *("unevaluatedProperties", "contains", "minContains", "maxContains", "uniqueItems", "patternProperties"),
    *("propertyNames", "multipleOf", "pattern", "$dynamicRef", "$recursiveRef"),
)
_MAX_DEPTH = 200


def resolve(schema: Any, root: Any, at: str) -> dict[str, Any]:
    """The schema as one object of the keywords that shape a value, besides `anyOf` and `oneOf`.

    Args:
        schema: part of `root`, or a whole.
        root: where references point.
        at: its place, for sentences.

    Raises:
        BadInput: a keyword cannot be kept, has no value of its kind, or asks twice for different things.
    """
    return _resolve(schema, root, at, ())


def merge(one: Mapping[str, Any], two: Mapping[str, Any], at: str) -> dict[str, Any]:
    """What both ask for, of two resolved schemas.

    Raises:
        BadInput: they ask for the same thing in different ways.
    """
    merged = {**two, **one}
    for key in one.keys() & two.keys():
        if same(one[key], two[key]):
            continue
        if key not in _MERGERS:
            raise BadInput(f"{at}.{key}: is asked for twice in different ways, which cannot be kept")
        merged[key] = _MERGERS[key](one[key], two[key])
    if "properties" in merged:
        names = [*one.get("properties", {}), *two.get("properties", {})]
        merged["properties"] = {name: _member(name, one, two) for name in dict.fromkeys(names)}
    return merged


def types_of(schema: Mapping[str, Any], at: str) -> list[str]:
    """The types that a value of a resolved schema is made in, the narrower one of two left out.

    A schema without `type` would allow every type beside the one that its keywords speak of; that one is made.

    Raises:
        BadInput: there is no such type.
    """
    given = schema.get("type", TYPES if not set(schema) & set(SHAPING) else _implied(schema))
    names = [given] if isinstance(given, str) else list(given)
    if unknown := [name for name in names if name not in TYPES]:
        raise BadInput(f"{at}.type: {unknown[0]!r:.{MAX_SHOWN}} is no type of JSON")
    return [name for name in dict.fromkeys(names) if not (name == "integer" and "number" in names)]


def is_of(value: Any, type_: str) -> bool:
    """Whether a value is of one of JSON's types."""
    match type_:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case _:
            kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "null": type(None)}
            return isinstance(value, kinds[type_])


def same(one: Any, two: Any) -> bool:
    """Whether two values are the same to a schema."""
    return _written(one) == _written(two)


def are_disjoint(branches: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no value that one of the resolved schemas is made in fits another of them, too."""
    return all(
        _is_apart(one, two)
        for number, one in enumerate(branches)
        for other, two in enumerate(branches)
        if number != other
    )


def _resolve(schema: Any, root: Any, at: str, references: tuple[str, ...]) -> dict[str, Any]:
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise BadInput(f"{at}: nothing conforms to it" if schema is False else f"{at}: is no schema")
    if len(references) > _MAX_DEPTH:
        raise BadInput(f"{at}: references lead too deep")
    for keyword in _REFUSED:
        if keyword in schema and not (keyword == "uniqueItems" and schema[keyword] is False):
            raise BadInput(f"{at}.{keyword}: this keyword cannot be kept while the answer is made; leave it out")
    for keyword, (is_right, must) in _VALUES.items():
        if keyword in schema and not is_right(schema[keyword]):
            raise BadInput(f"{at}.{keyword}: must be {must}")
    found = {key: schema[key] for key in (*SHAPING, "anyOf", "oneOf", "additionalItems") if key in schema}
    if "$ref" in schema:
        reference = schema["$ref"]
        if reference in references:
            raise BadInput(f"{at}.$ref: {shown(reference)} leads back to itself; recursive schemas cannot be kept")
        target = _resolve(_target(reference, root, at), root, at, (*references, reference))
        found = merge(found, target, at)
    for part in schema.get("allOf", []):
        found = merge(found, _resolve(part, root, at, references), at)
    return found


def _target(reference: str, root: Any, at: str) -> Any:
    if not reference.startswith("#"):
        raise BadInput(f"{at}.$ref: {shown(reference)} leaves the schema; nothing is fetched")
    node: Any = root
    for part in reference[1:].split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        try:
            node = node[int(name)] if isinstance(node, list) else node[name]
        except (KeyError, ValueError, IndexError, TypeError):
            raise BadInput(f"{at}.$ref: {shown(reference)} points nowhere") from None
    return node


def _member(name: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> Any:
    """What both say about a member: by its name, or as one of those that they do not name."""
    said = [
        schema["properties"][name] if name in schema.get("properties", {}) else schema.get("additionalProperties", True)
        for schema in (one, two)
    ]
    return _both(*said)


def _both(one: Any, two: Any) -> Any:
    """A schema of two."""
    if one is False or two is False:
        return False
    if one is True or same(one, two):
        return two
    return one if two is True else {"allOf": [one, two]}


def _common_types(one: Any, two: Any) -> list[str]:
    def spread(given: Any) -> list[str]:
        names = [given] if isinstance(given, str) else list(given)
        return [*names, "integer"] if "number" in names else names

    return [name for name in dict.fromkeys(spread(one)) if name in spread(two)]


_MERGERS: Mapping[str, Callable[[Any, Any], Any]] = {
    # Members are put together by `_member`, which looks at more than this keyword.
    "properties": lambda one, two: {**one, **two},
    "required": lambda one, two: [*one, *two],
    "additionalProperties": _both,
    "type": _common_types,
    "enum": lambda one, two: [item for item in one if any(same(item, other) for other in two)],
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _is_list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_COUNT = (lambda value: is_of(value, "integer") and value >= 0, "a whole number from 0")
_NUMBER = (lambda value: is_of(value, "number"), "a number")
_SCHEMAS = (lambda value: bool(value) and _is_list_of(_is_schema)(value), "a list of schemas")
_VALUES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "type": (lambda value: _is_text(value) or _is_list_of(_is_text)(value), "a type or a list of types"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "properties": (lambda value: isinstance(value, dict) and all(map(_is_schema, value.values())), "named schemas"),
    "required": (_is_list_of(_is_text), "a list of names"),
    "additionalProperties": (_is_schema, "a schema"),
    "items": (lambda value: _is_schema(value) or _is_list_of(_is_schema)(value), "a schema"),
    "additionalItems": (_is_schema, "a schema"),
    "prefixItems": (_is_list_of(_is_schema), "a list of schemas"),
    "format": (_is_text, "a text"),
    "$ref": (_is_text, "a text"),
    **dict.fromkeys(("anyOf", "oneOf", "allOf"), _SCHEMAS),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _NUMBER),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _COUNT),
}
"""Keyword to what its value must be."""


def _implied(schema: Mapping[str, Any]) -> tuple[str, ...]:
    if "enum" in schema or "const" in schema:
        return TYPES
    if set(schema) & {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}:
        return ("object",)
    if set(schema) & {"items", "prefixItems", "minItems", "maxItems"}:
        return ("array",)
    if set(schema) & {"minLength", "maxLength", "format"}:
        return ("string",)
    return ("number",)


def _written(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    """The value with every whole number as such: 1.0 is 1 to a schema."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_apart(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Whether nothing that is made for `one` fits `two`: other types, other fixed values, or a member with such."""
    made, taken = _fixed(one), _fixed(two)
    if made is not None and taken is not None and not made & taken:
        return True
    both = (_accepted(one) if made is not None else _kinds(types_of(one, "task.jsonSchema"))) & _accepted(two)
    if both != {"object"}:
        return not both
    shared = set(one.get("required", [])) & set(two.get("required", []))
    values = [[_fixed(schema.get("properties", {}).get(name)) for schema in (one, two)] for name in shared]
    return any(these is not None and those is not None and not these & those for these, those in values)


def _fixed(schema: Any) -> set[str] | None:
    """The only values that a schema has, as they are written; None where it names none."""
    if not isinstance(schema, Mapping) or not ("const" in schema or "enum" in schema):
        return None
    return {_written(value) for value in schema.get("enum", [schema.get("const")])}


def _accepted(schema: Mapping[str, Any]) -> set[str]:
    """The types of which some value fits: more than are made, where `type` says nothing."""
    if "type" in schema:
        return _kinds(types_of(schema, "task.jsonSchema"))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return _kinds([name for name in TYPES if values is None or any(is_of(value, name) for value in values)])


def _kinds(types: Sequence[str]) -> set[str]:
    return {"number" if name == "integer" else name for name in types}
