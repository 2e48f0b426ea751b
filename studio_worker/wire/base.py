"""What every model of the wire shares: camelCase keys, strict numbers, finite JSON, ignored extras."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from studio_worker.errors import BadClaim

MAX_FREE_JSON_DEPTH = 64


class WireModel(BaseModel):
    """A frozen object of the wire.

    Keys are camelCase outside and snake_case inside, unknown keys are ignored, numbers and booleans are strict
    (``true`` is no 1, ``"5"`` is no 5) and finite, and an absent optional field is omitted, never sent as null.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        strict=True,
        extra="ignore",
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    def to_wire(self) -> dict[str, Any]:
        """The object as the wire carries it: camelCase keys, absent fields left out, other people's JSON untouched."""
        out: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is not None:
                out[field.alias or name] = _plain(value)
        return out


def _plain(value: Any) -> Any:
    if isinstance(value, WireModel):
        return value.to_wire()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _finite(value: Any) -> Any:
    """Refuse what JSON cannot carry, at any depth: NaN, infinities, lone surrogates, nesting past the bound."""
    todo: list[tuple[Any, int]] = [(value, 0)]
    while todo:
        item, depth = todo.pop()
        if depth > MAX_FREE_JSON_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_FREE_JSON_DEPTH} levels")
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("holds a number that is not finite")
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise ValueError("holds a lone surrogate") from None
        elif isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise ValueError("has a key that is not text")
                todo += [(key, depth), (inner, depth + 1)]
        elif isinstance(item, (list, tuple)):
            todo += [(inner, depth + 1) for inner in item]
        elif not isinstance(item, (int, float, bool, type(None))):
            raise ValueError(f"holds a {type(item).__name__}, which JSON cannot carry")
    return value


FreeJson = Annotated[Any, AfterValidator(_finite)]
"""Any JSON value of somebody else's, finite and bounded in depth; nulls inside are kept."""

FreeObject = Annotated[dict[str, Any], AfterValidator(_finite)]
"""A JSON object of somebody else's."""


def bounded_text(limit: int, *, may_be_blank: bool = False) -> AfterValidator:
    """For text: of 1 to `limit` characters that holds more than NULs and white space."""

    def check(text: str) -> str:
        if len(text) > limit:
            raise ValueError(f"has {len(text):,} characters, at most {limit:,} are allowed")
        if not may_be_blank and not text.replace("\0", "").strip():
            raise ValueError("is empty")
        return str(_finite(text))

    return AfterValidator(check)


def whole(low: int, high: int) -> AfterValidator:
    """For an integer: from `low` to `high`, both allowed."""

    def check(number: int) -> int:
        if not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return number

    return AfterValidator(check)


def number(low: float, high: float, *, above: bool = False) -> AfterValidator:
    """For a number: from `low` (not itself, where `above`) to `high`."""

    def check(value: float) -> float:
        if not low <= value <= high or (above and value == low):
            raise ValueError(
                f"must be a number {'above' if above else 'from'} {low:g} {'up ' if above else ''}to {high:g}"
            )
        return value

    return AfterValidator(check)


def matching(pattern: str, meaning: str) -> AfterValidator:
    """For text of which the whole must match `pattern`; `meaning` says in words what is allowed."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {meaning}")
        return text

    return AfterValidator(check)


def bad_claim(error: ValidationError, prefix: str = "") -> BadClaim:
    """The first problem of a validation error as a `BadClaim` that names the field by its wire name."""
    first = error.errors(include_url=False, include_context=True)[0]
    path = ".".join(str(part) for part in first["loc"])
    field = ".".join(part for part in (prefix, path) if part) or "claim"
    shown = first.get("input")
    problem = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if first["type"] == "missing":
        problem = "is required"
    elif isinstance(shown, (int, float, bool)) or (isinstance(shown, str) and len(shown) <= 60):
        problem = f"{problem} (got {shown!r})"
    return BadClaim(field, problem[:500])
