"""A JSON schema as a grammar for llama.cpp, so that every answer parses and conforms.

The library's own translation lets raw line breaks into texts and passes over what it does not know (`minimum`,
`uniqueItems`). Here a keyword is kept, or the schema is refused by that keyword's name. Objects hold no members besides
those declared; white space is at most one space after a colon or comma.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio_worker import BadInput
from studio_worker_llama.json_numbers import LONGEST, integer_rule, number_rule
from studio_worker_llama.json_schema import SHAPING, are_disjoint, is_of, merge, resolve, same, types_of
from studio_worker_llama.shown_names import shown

_MAX_REPEATS = 1_000
_CHAR = r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-cA-C] [0-9a-fA-F]{3})'
_ESCAPE = 8
"""Bytes that finish a character of a text, however far it has come."""

_FORMATS = {
    "date": r'"\"" date "\""',
    "time": r'"\"" time "\""',
    "date-time": r'"\"" date "T" time "\""',
    "uuid": r'"\"" [0-9a-f]{8} ("-" [0-9a-f]{4}){3} "-" [0-9a-f]{12} "\""',
}
_FORMAT_CHARS = 40
_DATE = r'[1-2] [0-9]{3} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
_TIME = r'([0-1] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"'


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must keep to.

    Attributes:
        text: GBNF, its first rule ``root``.
        reach: no answer is ever farther than so many characters from its shortest end; infinite where it may nest
            without bound.
    """

    text: str
    reach: float


def json_grammar(schema: Any) -> Grammar:
    """The schema as a grammar.

    Raises:
        BadInput: it uses a keyword that cannot be kept, or nothing conforms to it; names the place.
    """
    return _Writer(schema).grammar()


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule's right side, and its reach."""

    text: str
    reach: float


class _Writer:
    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._rules: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._reach: dict[str, float] = {}

    def grammar(self) -> Grammar:
        root = self._rule(self._root, "task.jsonSchema")
        self._rules["root"] = root.text
        return Grammar("\n".join(f"{name} ::= {rule}" for name, rule in self._rules.items()) + "\n", root.reach)

    def _rule(self, schema: Any, at: str) -> _Rule:
        """A rule of its own for the schema; equal schemas share one."""
        schema = resolve(schema, self._root, at)
        key = json.dumps(schema, sort_keys=True)
        if key not in self._names:
            self._names[key] = name = f"r{len(self._names)}"
            body = self._body(schema, at)
            self._rules[name], self._reach[name] = body.text, body.reach
        name = self._names[key]
        if name not in self._reach and schema:
            raise BadInput(f"{at}: holds itself; recursive schemas cannot be kept")
        # Any JSON at all nests in itself.
        return _Rule(name, self._reach.get(name, math.inf))

    def _body(self, schema: dict[str, Any], at: str) -> _Rule:
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = {key: value for key, value in schema.items() if key != keyword}
                branches = [merge(rest, resolve(branch, self._root, at), at) for branch in schema[keyword]]
                if keyword == "oneOf" and not are_disjoint(branches):
                    raise BadInput(f"{at}.oneOf: its alternatives may both fit; write anyOf, or give each its own type")
                return self._any([self._rule(branch, f"{at}.{keyword}") for branch in branches], f"{at}.{keyword}")
        types = types_of(schema, at)
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            if "enum" in schema and "const" in schema:
                values = [value for value in values if same(value, schema["const"])]
            kept = [json.dumps(value) for value in values if any(is_of(value, type_) for type_ in types)]
            extra = set(schema) & (set(SHAPING) - {"type", "enum", "const"})
            if extra:
                raise BadInput(f"{at}.{min(extra)}: cannot be kept beside enum or const; leave it out")
            return self._any([_Rule(_literal(value), len(value)) for value in kept], f"{at}.enum")
        return self._any([self._typed(type_, schema, at) for type_ in types], f"{at}.type")

    def _typed(self, type_: str, schema: dict[str, Any], at: str) -> _Rule:
        match type_:
            case "object":
                return self._object(schema, at)
            case "array":
                return self._array(schema, at)
            case "string":
                return self._string(schema, at)
            case "integer":
                return _Rule(integer_rule(*_bounds(schema), at=at), LONGEST)
            case "number":
                return _Rule(number_rule(*_bounds(schema), at=at), LONGEST)
            case "boolean":
                return _Rule('"true" | "false"', 5)
            case _:
                return _Rule('"null"', 4)

    def _object(self, schema: dict[str, Any], at: str) -> _Rule:
        properties: dict[str, Any] = dict(schema.get("properties", {}))
        more = schema.get("additionalProperties", True)
        required = list(dict.fromkeys(schema.get("required", [])))
        for name in required:
            if name not in properties:
                properties[name] = more
        least, most = _count(schema, "minProperties", 0), _count(schema, "maxProperties", math.inf)
        if not properties:
            return self._free_object(more, least, most, at)
        optional = [name for name in properties if name not in required and properties[name] is not False]
        missing = int(max(least - len(required), 0))
        if missing > len(optional):
            raise BadInput(f"{at}.minProperties: more than the properties that are declared")
        required, optional = [*required, *optional[:missing]], optional[missing:]
        if len(required) > most:
            raise BadInput(f"{at}.maxProperties: fewer than the {len(required)} that are required")
        optional = optional[: int(min(most - len(required), len(optional)))]
        members: dict[str, str] = {}
        reach = 2.0
        for name in [*required, *optional]:
            value, key = self._rule(properties[name], f"{at}.{shown(name)}"), json.dumps(name)
            members[name] = self._named(f'{_literal(key)} ":" " "? {value.text}')
            reach += len(key) + 2 + value.reach
        first = ' "," " "? '.join(members[name] for name in required)
        return _Rule(f'"{{" {self._optional([members[name] for name in optional], first)} "}}"', reach)

    def _free_object(self, more: Any, least: float, most: float, at: str) -> _Rule:
        """An object whose members have any names."""
        if least > most:
            raise BadInput(f"{at}.minProperties: more than maxProperties")
        if least > 1:
            # Two members of one name would count once.
            raise BadInput(f"{at}.minProperties: only 0 or 1 can be kept without properties")
        if more is False or most < 1:
            return self._any([_Rule('"{}"', 2)] if least == 0 else [], at)
        name, value = self._chars(), self._rule(more, at + ".additionalProperties")
        member = self._named(f'{name.text} ":" " "? {value.text}')
        many = "" if most < 2 else f' ("," " "? {member}){_times(0, most - 1)}'
        text = f'"{{" {member}{many} "}}"' if least else f'"{{" ({member}{many})? "}}"'
        return _Rule(text, 3 + name.reach + value.reach)

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

    def _array(self, schema: dict[str, Any], at: str) -> _Rule:
        least, most = _count(schema, "minItems", 0), _count(schema, "maxItems", math.inf)
        first, items = schema.get("prefixItems", []), schema.get("items", True)
        if isinstance(items, list):
            first, items = items, schema.get("additionalItems", True)
        if items is False:
            most = min(most, len(first))
        if least > most:
            raise BadInput(f"{at}.minItems: more than can be there")
        if least > _MAX_REPEATS:
            raise BadInput(f"{at}.minItems: more than {_MAX_REPEATS:,} cannot be kept")
        heads = [self._rule(item, f"{at}.prefixItems") for item in first[: int(min(most, len(first)))]]
        if heads:
            count, rest, reach = int(max(least - len(heads), 0)), "", sum(head.reach + 1 for head in heads)
            if count:
                item = self._rule(items, f"{at}.items")
                rest, reach = f' ("," " "? {item.text}){{{count}}}', reach + count * (item.reach + 1)
            return _Rule('"[" ' + ' "," " "? '.join(head.text for head in heads) + rest + ' "]"', reach + 2)
        if most < 1:
            return _Rule('"[]"', 2)
        item = self._rule(items, f"{at}.items")
        body = f'{item.text} ("," " "? {item.text}){_times(int(max(least - 1, 0)), most - 1)}'
        return _Rule(f'"[" {body} "]"' if least else f'"[" ({body})? "]"', 2 + max(least, 1) * (item.reach + 1))

    def _string(self, schema: dict[str, Any], at: str) -> _Rule:
        form = schema.get("format")
        if form in _FORMATS:
            if "minLength" in schema or "maxLength" in schema:
                raise BadInput(f"{at}.format: cannot be kept beside minLength or maxLength")
            self._rules.setdefault("date", _DATE)
            self._rules.setdefault("time", _TIME)
            return _Rule(_FORMATS[form], _FORMAT_CHARS)
        return self._chars(_count(schema, "minLength", 0), _count(schema, "maxLength", math.inf), at)

    def _chars(self, least: float = 0, most: float = math.inf, at: str = "") -> _Rule:
        if least > min(most, _MAX_REPEATS):
            raise BadInput(f"{at}.minLength: {least:,} cannot be kept")
        self._rules.setdefault("char", _CHAR)
        return _Rule(rf'"\"" char{_times(int(least), most)} "\""', least + 2 + _ESCAPE)

    def _any(self, rules: list[_Rule], at: str) -> _Rule:
        if not rules:
            raise BadInput(f"{at}: nothing conforms to it")
        text = " | ".join(f"({rule.text})" for rule in rules) if len(rules) > 1 else rules[0].text
        return _Rule(text, max(rule.reach for rule in rules))

    def _named(self, rule: str) -> str:
        key = "rule " + rule
        if key not in self._names:
            self._names[key] = f"r{len(self._names)}"
            self._rules[self._names[key]] = rule
        return self._names[key]


def _bounds(schema: Mapping[str, Any]) -> tuple[float | None, float | None, bool, bool]:
    """Least, most, and whether each is itself left out."""
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    is_above = above is not None and (low is None or above >= low)
    is_below = below is not None and (high is None or below <= high)
    return (above if is_above else low, below if is_below else high, is_above, is_below)


def _count(schema: Mapping[str, Any], keyword: str, default: float) -> float:
    value = schema.get(keyword)
    return default if value is None else int(value)


def _times(least: int, most: float) -> str:
    if math.isinf(most):
        return "*" if not least else f"{{{least},}}"
    return f"{{{least},{max(least, min(int(most), _MAX_REPEATS))}}}"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
