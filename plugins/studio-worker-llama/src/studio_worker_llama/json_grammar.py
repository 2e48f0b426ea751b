"""A JSON schema as a grammar for llama.cpp, so that every answer parses and conforms.

The library's own translation lets raw line breaks into texts and passes over what it does not know (`minimum`,
`uniqueItems`). Here a keyword is kept, or the schema is refused by that keyword's name. Objects hold no members besides
those declared; white space is at most one space after a colon or comma.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from studio_worker import BadInput
from studio_worker_llama.json_numbers import integer_rule, number_rule

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_REFUSED = (
    *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems"),
    *("unevaluatedProperties", "contains", "minContains", "maxContains", "uniqueItems", "patternProperties"),
    *("propertyNames", "multipleOf", "pattern", "$dynamicRef", "$recursiveRef"),
)
_SHAPING = (
    *("type", "enum", "const", "properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    *("items", "prefixItems", "minItems", "maxItems", "minLength", "maxLength", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
)
_MAX_REPEATS = 1_000
_CHAR = r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-cA-C] [0-9a-fA-F]{3})'
_FORMATS = {
    "date": r'"\"" date "\""',
    "time": r'"\"" time "\""',
    "date-time": r'"\"" date "T" time "\""',
    "uuid": r'"\"" [0-9a-f]{8} ("-" [0-9a-f]{4}){3} "-" [0-9a-f]{12} "\""',
}
_DATE = r'[1-2] [0-9]{3} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
_TIME = r'([0-1] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"'


def json_grammar(schema: Any) -> str:
    """The schema as GBNF, its first rule ``root``.

    Raises:
        BadInput: it uses a keyword that cannot be kept, or nothing conforms to it.
    """
    return _Grammar(schema).text()


class _Grammar:
    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._schema = schema

    def text(self) -> str:
        self._rules["root"] = self._rule(self._schema, "task.jsonSchema")
        return "\n".join(f"{name} ::= {rule}" for name, rule in self._rules.items()) + "\n"

    def _rule(self, schema: Any, at: str) -> str:
        """The name of a rule for the schema; equal schemas share one."""
        schema = self._resolved(schema, at)
        key = json.dumps(schema, sort_keys=True)
        if key not in self._names:
            self._names[key] = name = f"r{len(self._names)}"
            self._rules[name] = self._body(schema, at)
        return self._names[key]

    def _body(self, schema: dict[str, Any], at: str) -> str:
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = {key: value for key, value in schema.items() if key != keyword}
                branches = [self._merged(rest, self._resolved(branch, at), at) for branch in schema[keyword]]
                if keyword == "oneOf" and not _are_disjoint(branches):
                    raise BadInput(f"{at}.oneOf: its alternatives may both fit; write anyOf, or give each its own type")
                return self._any([self._rule(branch, f"{at}.{keyword}") for branch in branches], f"{at}.{keyword}")
        types = _types(schema, at)
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            if "enum" in schema and "const" in schema:
                values = [value for value in values if _same(value, schema["const"])]
            kept = [value for value in values if any(_is_of(value, type_) for type_ in types)]
            extra = set(schema) & (set(_SHAPING) - {"type", "enum", "const"})
            if extra:
                raise BadInput(f"{at}.{min(extra)}: cannot be kept beside enum or const; leave it out")
            return self._any([_literal(json.dumps(value)) for value in kept], f"{at}.enum")
        return self._any([self._typed(type_, schema, at) for type_ in types], f"{at}.type")

    def _typed(self, type_: str, schema: dict[str, Any], at: str) -> str:
        match type_:
            case "object":
                return self._object(schema, at)
            case "array":
                return self._array(schema, at)
            case "string":
                return self._string(schema, at)
            case "integer":
                return integer_rule(*_bounds(schema), at=at)
            case "number":
                return number_rule(*_bounds(schema), at=at)
            case "boolean":
                return '"true" | "false"'
            case _:
                return '"null"'

    def _object(self, schema: dict[str, Any], at: str) -> str:
        properties: dict[str, Any] = dict(schema.get("properties", {}))
        more = schema.get("additionalProperties", True)
        required = list(dict.fromkeys(schema.get("required", [])))
        for name in required:
            if name not in properties:
                properties[name] = more
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
        if not properties:
            if more is False:
                return self._any(['"{}"'] if least == 0 else [], at)
            member = f'{self._chars()} ":" " "? {self._rule(more, at + ".additionalProperties")}'
            # Two members of one name would count once.
            if least > 1 or most < 1:
                raise BadInput(f"{at}.minProperties: only 0 or 1 can be kept without properties")
            many = "" if most < 2 else f' ("," " "? {self._named(member)})*'
            body = f"{self._named(member)}{many}"
            return f'"{{" {body} "}}"' if least else f'"{{" ({body})? "}}"'
        optional = [name for name in properties if name not in required and properties[name] is not False]
        if least > len(required):
            required, optional = [*required, *optional], []
        if len(required) > most:
            raise BadInput(f"{at}.maxProperties: fewer than the {len(required)} that are required")
        if least > len(required):
            raise BadInput(f"{at}.minProperties: more than the properties that are declared")
        if len(required) + len(optional) > most:
            optional = optional[: int(most) - len(required)]
        members = {
            name: self._named(f'{_literal(json.dumps(name))} ":" " "? {self._rule(properties[name], f"{at}.{name}")}')
            for name in [*required, *optional]
        }
        first = ' "," " "? '.join(members[name] for name in required)
        return f'"{{" {self._optional([members[name] for name in optional], first)} "}}"'

    def _optional(self, members: list[str], first: str) -> str:
        """Members that may follow, each or not, in order."""
        if first:
            return first + "".join(f' ("," " "? {member})?' for member in members)
        # Each tail is a rule of its own, or the grammar would grow with the square of the members.
        tail, starts = "", []
        for member in reversed(members):
            starts.append(f"{member}{tail}")
            tail = f' {self._named(f"""("," " "? {member})?{tail}""")}'
        return f"({' | '.join(reversed(starts))})?" if starts else '""'

    def _array(self, schema: dict[str, Any], at: str) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        first, items = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(items, list):
            first, items = items, schema.get("additionalItems", True)
        if items is False:
            most = min(most, len(first))
        if least > most:
            raise BadInput(f"{at}.minItems: more than can be there")
        if least > _MAX_REPEATS:
            raise BadInput(f"{at}.minItems: more than {_MAX_REPEATS:,} cannot be kept")
        names = [self._rule(item, f"{at}.prefixItems") for item in first[: int(min(most, len(first)))]]
        if names:
            count = max(least - len(names), 0)
            rest = f' ("," " "? {self._rule(items, at + ".items")}){{{count}}}' if count else ""
            return '"[" ' + ' "," " "? '.join(names) + rest + ' "]"'
        if most < 1:
            return '"[]"'
        item = self._rule(items, f"{at}.items")
        body = f'{item} ("," " "? {item}){_times(max(least - 1, 0), most - 1)}'
        return f'"[" {body} "]"' if least else f'"[" ({body})? "]"'

    def _string(self, schema: dict[str, Any], at: str) -> str:
        form = schema.get("format")
        if form in _FORMATS:
            if "minLength" in schema or "maxLength" in schema:
                raise BadInput(f"{at}.format: cannot be kept beside minLength or maxLength")
            self._rules.setdefault("date", _DATE)
            self._rules.setdefault("time", _TIME)
            return _FORMATS[form]
        return self._chars(schema.get("minLength", 0), schema.get("maxLength", math.inf), at)

    def _chars(self, least: int = 0, most: float = math.inf, at: str = "") -> str:
        if least > min(most, _MAX_REPEATS):
            raise BadInput(f"{at}.minLength: {least:,} cannot be kept")
        self._rules.setdefault("char", _CHAR)
        return rf'"\"" char{_times(least, most)} "\""'

    def _any(self, rules: list[str], at: str) -> str:
        if not rules:
            raise BadInput(f"{at}: nothing conforms to it")
        return " | ".join(f"({rule})" for rule in rules) if len(rules) > 1 else rules[0]

    def _named(self, rule: str) -> str:
        key = "rule " + rule
        if key not in self._names:
            self._names[key] = f"r{len(self._names)}"
            self._rules[self._names[key]] = rule
        return self._names[key]

    def _resolved(self, schema: Any, at: str) -> dict[str, Any]:
        """The schema as one object of the keywords that shape it: references and `allOf` put in their places."""
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise BadInput(f"{at}: nothing conforms to it")
        for keyword in _REFUSED:
            if keyword in schema and not (keyword == "uniqueItems" and schema[keyword] is False):
                raise BadInput(f"{at}.{keyword}: this keyword cannot be kept while the answer is made; leave it out")
        found = {key: schema[key] for key in (*_SHAPING, "anyOf", "oneOf", "additionalItems") if key in schema}
        if "$ref" in schema:
            found = self._merged(found, self._resolved(self._target(str(schema["$ref"]), at), at), at)
        for part in schema.get("allOf", []):
            found = self._merged(found, self._resolved(part, at), at)
        return found

    def _target(self, reference: str, at: str) -> Any:
        node: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (KeyError, ValueError, IndexError, TypeError):
                raise BadInput(f"{at}.$ref: {reference} points nowhere") from None
        return node

    def _merged(self, one: dict[str, Any], two: dict[str, Any], at: str) -> dict[str, Any]:
        """What both ask for."""
        merged = dict(one)
        for key, value in two.items():
            if key not in one or one[key] == value:
                merged[key] = value
            elif key == "properties":
                merged[key] = {**one[key], **value}
                for name in one[key].keys() & value.keys():
                    merged[key][name] = {"allOf": [one[key][name], value[name]]}
            elif key == "required":
                merged[key] = [*one[key], *value]
            elif key in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"):
                merged[key] = max(one[key], value)
            elif key in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"):
                merged[key] = min(one[key], value)
            elif key == "type":
                merged[key] = [name for name in _types(one, at) if name in _types(two, at)]
            elif key == "enum":
                merged[key] = [item for item in one[key] if any(_same(item, other) for other in value)]
            else:
                raise BadInput(f"{at}.{key}: is asked for twice in different ways, which cannot be kept")
        return merged


def _types(schema: Mapping[str, Any], at: str) -> list[str]:
    given = schema.get("type", _TYPES if not set(schema) & set(_SHAPING) else _implied(schema))
    names = [given] if isinstance(given, str) else list(given)
    if unknown := [name for name in names if name not in _TYPES]:
        raise BadInput(f"{at}.type: {unknown[0]!r} is no type of JSON")
    return [name for name in names if not (name == "integer" and "number" in names)]


def _implied(schema: Mapping[str, Any]) -> Iterator[str] | tuple[str, ...]:
    """The types that the keywords speak of; a schema without a type would also allow all others."""
    if "enum" in schema or "const" in schema:
        return _TYPES
    if any(key in schema for key in ("properties", "required", "additionalProperties", "minProperties")):
        return ("object",)
    if any(key in schema for key in ("items", "prefixItems", "minItems", "maxItems")):
        return ("array",)
    if any(key in schema for key in ("minLength", "maxLength", "format")):
        return ("string",)
    return ("number",)


def _is_of(value: Any, type_: str) -> bool:
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


def _same(one: Any, two: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


def _are_disjoint(branches: list[dict[str, Any]]) -> bool:
    """Whether no value can fit two of them: other types, or a required member with other fixed values."""
    return all(_differ(one, two) for number, one in enumerate(branches) for two in branches[number + 1 :])


def _differ(one: dict[str, Any], two: dict[str, Any]) -> bool:
    def fixed(schema: Any) -> set[str] | None:
        if not isinstance(schema, dict) or not ("const" in schema or "enum" in schema):
            return None
        return {json.dumps(value, sort_keys=True) for value in schema.get("enum", [schema.get("const")])}

    def values_apart(first: Any, second: Any) -> bool:
        these, those = fixed(first), fixed(second)
        return these is not None and those is not None and not these & those

    def kinds(schema: dict[str, Any]) -> set[str]:
        return {"number" if name == "integer" else name for name in _types(schema, "task.jsonSchema")}

    if values_apart(one, two) or not kinds(one) & kinds(two):
        return True
    shared = set(one.get("required", [])) & set(two.get("required", []))
    return any(
        values_apart(one.get("properties", {}).get(name), two.get("properties", {}).get(name)) for name in shared
    )


def _bounds(schema: Mapping[str, Any]) -> tuple[float | None, float | None, bool, bool]:
    """Least, most, and whether each is itself left out."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    is_above = above is not None and (low is None or above >= low)
    is_below = below is not None and (high is None or below <= high)
    return (above if is_above else low, below if is_below else high, is_above, is_below)


def _times(least: int, most: float) -> str:
    if math.isinf(most):
        return "*" if not least else f"{{{least},}}"
    return f"{{{least},{max(least, min(int(most), _MAX_REPEATS))}}}"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
