"""The smallest value that fits a JSON schema, for the common parts of JSON Schema (2020-12)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import unquote

from studio_worker.errors import UnsupportedTask

MAX_ITEMS = 1_000
"""Items or characters that a schema may ask for at least."""

MAX_WORK = 200_000
"""Characters, values and merged keywords of one answer together: a few bounds within each other multiply."""

_UNFILLABLE = (
    "not",
    "if",
    "pattern",
    "contains",
    "minProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
)
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "a@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def instance(schema: Any) -> Any:
    """A value that fits `schema`, which `wire.json_schema.check_schema` has passed.

    Raises:
        UnsupportedTask: names the part that cannot be filled.
    """
    return _Filler(schema).fill(schema)


class _Filler:
    """Fills one document; `$ref` points into it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._work_left = MAX_WORK

    def fill(self, schema: Any) -> Any:
        self._spend(1)
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            _refuse("false")
        schema = self._flat(schema)
        for word in _UNFILLABLE:
            if word in schema:
                _refuse(word)
        if "const" in schema:
            return self._given(schema["const"])
        if schema.get("enum"):
            return self._given(schema["enum"][0])
        for word in ("anyOf", "oneOf"):
            if schema.get(word):
                self._spend(len(schema))
                rest = {key: value for key, value in schema.items() if key != word}
                return self.fill({**rest, **self._flat(schema[word][0])})
        kind = schema.get("type") or _implied(schema)
        match kind[0] if isinstance(kind, list) and kind else kind:
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                text = _string(schema)
                self._spend(len(text))
                return text
            case "integer":
                return _integer(schema)
            case "number":
                return _number(schema)
            case "boolean":
                return False
            case "null":
                return None
        return _refuse(f"type {kind!r}")

    def _spend(self, work: int) -> None:
        self._work_left -= work
        if self._work_left < 0:
            _refuse(f"an answer that takes more than {MAX_WORK:,} steps or characters")

    def _given(self, value: Any) -> Any:
        self._spend(len(json.dumps(value)))
        return value

    def _flat(self, schema: Any) -> dict[str, Any]:
        """The schema with `$ref` followed and `allOf` merged in."""
        if not isinstance(schema, Mapping):
            _refuse("a boolean inside anyOf, oneOf or allOf")
        out = dict(schema)
        parts = out.pop("allOf", [])
        if (reference := out.pop("$ref", None)) is not None:
            parts = [self._resolved(reference), *parts]
        for part in parts:
            flat = self._flat(part)
            self._spend(1 + len(flat))
            for key, value in flat.items():
                if key in ("properties", "required"):
                    self._spend(len(value) + len(out.get(key, ())))
                if key == "properties":
                    out[key] = {**value, **out.get(key, {})}
                elif key == "required":
                    out[key] = list(dict.fromkeys([*out.get(key, []), *value]))
                elif out.setdefault(key, value) != value and key not in ("title", "description", "$defs"):
                    _refuse(f"allOf or $ref with two different {key!r}")
        return out

    def _resolved(self, reference: str) -> Any:
        self._spend(len(reference))
        node = self._root
        for part in filter(None, reference[1:].split("/")):
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            node = node[int(name)] if isinstance(node, list) else node[name]
        return node

    def _object(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        out = {}
        for name in schema.get("required", []):
            if name in properties:
                out[name] = self.fill(properties[name])
            elif schema.get("patternProperties"):
                _refuse("patternProperties with a required name")
            else:
                out[name] = self.fill(extra)
        return out

    def _array(self, schema: Mapping[str, Any]) -> list[Any]:
        least = _least(schema, "minItems")
        if schema.get("uniqueItems") is True and least > 1:
            _refuse("uniqueItems with minItems over 1")
        first = schema.get("prefixItems", [])
        return [self.fill(first[at] if at < len(first) else schema.get("items", True)) for at in range(least)]


def _string(schema: Mapping[str, Any]) -> str:
    if (name := schema.get("format")) in _FORMATS:
        return _FORMATS[str(name)]
    least = _least(schema, "minLength")
    most = schema.get("maxLength", least + 9)
    return ("synthetic"[: int(most)]).ljust(least, ".")


def _integer(schema: Mapping[str, Any]) -> int:
    step = schema.get("multipleOf", 1)
    if step != int(step):
        _refuse("an integer with a fractional multipleOf")
    return int(_number({**schema, "multipleOf": int(step)}))


def _number(schema: Mapping[str, Any]) -> int | float:
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    step = schema.get("multipleOf")
    if step:
        value = _multiple(low, high, step)
    elif low == -math.inf:
        value = min(0, high)
    else:
        value = max(0, low) if high > 0 else low
    for candidate in (value, *_beside(value, low, high, step)):
        if _fits(candidate, schema):
            return candidate
    return _refuse("a range of numbers that is empty or very narrow")


def _multiple(low: float, high: float, step: float) -> int | float:
    if low <= 0 <= high:
        return 0
    return math.ceil(low / step) * step if low > 0 else math.floor(high / step) * step


def _beside(value: float, low: float, high: float, step: float | None) -> tuple[float, ...]:
    """What to try where `value` is a bound that is excluded."""
    by = step or (min(1.0, (high - low) / 2) if math.isfinite(high - low) else 1)
    return value + by, value - by


def _fits(value: float, schema: Mapping[str, Any]) -> bool:
    return bool(
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and value > schema.get("exclusiveMinimum", -math.inf)
        and value < schema.get("exclusiveMaximum", math.inf)
    )


def _least(schema: Mapping[str, Any], word: str) -> int:
    least = schema.get(word, 0)
    if not isinstance(least, int) or least > MAX_ITEMS:
        _refuse(f"{word} over {MAX_ITEMS}")
    return least


def _implied(schema: Mapping[str, Any]) -> str:
    """The type of a schema that names none, by the words that it uses."""
    words = {
        "array": ("items", "prefixItems", "minItems"),
        "string": ("minLength", "maxLength", "format"),
        "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    }
    return next((kind for kind, used in words.items() if any(word in schema for word in used)), "object")


def _refuse(part: str) -> NoReturn:
    raise UnsupportedTask(f"the synthetic engine cannot fill a JSON schema with {part}")
