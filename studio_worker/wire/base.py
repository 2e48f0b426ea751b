"""What every model of the wire shares: camelCase keys, strict numbers, finite JSON, ignored extras."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainValidator, ValidationError
from pydantic.alias_generators import to_camel

from studio_worker.errors import BadClaim

MAX_FREE_JSON_DEPTH = 64
MAX_INTEGER_DIGITS = 20
"""Digits of the largest number of the contract (a seed of 2^64 - 1)."""

_TOO_LARGE = 10**MAX_INTEGER_DIGITS
_PLAIN: tuple[type[Any], ...] = (str, dict, list, tuple, float, int)
MAX_FREE_JSON_VALUES = 1_000_000
"""Values and keys of other people's JSON; a transcript of ten hours with every word timed has fewer."""

MAX_SHOWN = 60
"""Characters of a refused value that an error repeats; a longer one is not repeated at all."""


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
        hide_input_in_errors=True,
    )

    @classmethod
    def from_wire(cls, raw: Any) -> Self:
        """The object that `raw` carries: its wire names only (`job_id` is an unknown key there), nulls as absent.

        Raises:
            pydantic.ValidationError: its text repeats no input.
        """
        if isinstance(raw, dict):
            raw = {key: value for key, value in raw.items() if value is not None}
        return cls.model_validate(raw, by_alias=True, by_name=False)

    def to_wire(self) -> dict[str, Any]:
        """The object as the wire carries it: camelCase keys, absent fields left out, other people's JSON untouched."""
        out: dict[str, Any] = {}
        for name, alias in _wire_names(type(self)):
            value = getattr(self, name)
            if value is not None:
                out[alias] = _plain(value)
        return out


@cache
def _wire_names(model: type[WireModel]) -> tuple[tuple[str, str], ...]:
    return tuple((name, field.alias or name) for name, field in model.model_fields.items())


def _plain(value: Any) -> Any:
    if isinstance(value, WireModel):
        return value.to_wire()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
    return value


# What a check allows is its docstring: the reference page of the wire is written from it.


def _finite(value: Any) -> Any:
    _look_into(value, MAX_FREE_JSON_DEPTH, [MAX_FREE_JSON_VALUES])
    return value


_finite.__doc__ = (
    f"finite, at most {MAX_FREE_JSON_VALUES:,} values, nested at most {MAX_FREE_JSON_DEPTH} deep, "
    f"no integer of more than {MAX_INTEGER_DIGITS} digits"
)


def _look_into(item: Any, depth_left: int, values_left: list[int]) -> None:
    """Look at one value and all in it. Runs for every result and every claim, hence the order of its questions."""
    kind = type(item)
    if kind is str:
        if not item.isascii():
            _refuse_surrogates(item)
    elif kind is dict or kind is list or kind is tuple:
        values_left[0] -= len(item)
        if values_left[0] < 0:
            raise ValueError(f"holds more than {MAX_FREE_JSON_VALUES:,} values")
        if depth_left == 0 and item:
            raise ValueError(f"is nested deeper than {MAX_FREE_JSON_DEPTH} levels")
        if kind is dict:
            for key in item:
                if type(key) is not str:
                    raise ValueError("has a key that is not text")
                if not key.isascii():
                    _refuse_surrogates(key)
            item = item.values()
        for inner in item:
            _look_into(inner, depth_left - 1, values_left)
    elif kind is float:
        if not math.isfinite(item):
            raise ValueError("holds a number that is not finite")
    elif kind is int:
        if not -_TOO_LARGE < item < _TOO_LARGE:
            raise ValueError(f"holds an integer of more than {MAX_INTEGER_DIGITS} digits")
    elif item is not None and kind is not bool:
        _look_into_odd(item, depth_left, values_left)


def _look_into_odd(item: Any, depth_left: int, values_left: list[int]) -> None:
    """A value of a class of its own: as JSON carries the type that it is a kind of."""
    for plain in _PLAIN:
        if isinstance(item, plain):
            _look_into(plain(item), depth_left, values_left)
            return
    raise ValueError(f"holds a {type(item).__name__}, which JSON cannot carry")


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate") from None


def free_object(value: object) -> dict[str, Any]:
    """`value`, if it is a JSON object that can be sent: finite, bounded in depth, every key a text.

    Raises:
        ValueError: says what it holds, as the end of a sentence.
        RecursionError: it holds itself.
    """
    if not isinstance(value, dict):
        raise ValueError("is no object")
    _finite(value)
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
        if not text.isascii():
            _refuse_surrogates(text)
        return text

    check.__doc__ = f"at most {limit:,} characters" + ("" if may_be_blank else ", not blank")
    return AfterValidator(check)


def whole(low: int, high: int) -> PlainValidator:
    """For an integer: from `low` to `high`, both allowed; no boolean, no ``1.0``, no text. One sentence refuses all."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    check.__doc__ = f"{low:,} to {high:,}"
    return PlainValidator(check)


def number(low: float, high: float, *, above: bool = False) -> PlainValidator:
    """For a number: from `low` (not itself, where `above`) to `high`; no boolean, no text, no NaN."""

    def check(value: Any) -> float:
        right_type = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not right_type or not low <= value <= high or (above and value == low):
            raise ValueError(
                f"must be a number {'above' if above else 'from'} {low:g} {'up ' if above else ''}to {high:g}"
            )
        return float(value)

    check.__doc__ = f"above {low:,} up to {high:,}" if above else f"{low:,} to {high:,}"
    return PlainValidator(check)


def matching(pattern: str, meaning: str) -> AfterValidator:
    """For text of which the whole must match `pattern`; `meaning` says in words what is allowed."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {meaning}")
        return text

    check.__doc__ = meaning
    return AfterValidator(check)


_SENTENCES = {
    "missing": "is required",
    "string_type": "must be text",
    "string_unicode": "holds a lone surrogate",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must hold at least {min_length} of them",
    "too_long": "must hold at most {max_length:,} of them",
}
"""What pydantic calls its errors, in a studio's words; its own messages speak of Python's types."""


def bad_claim(error: ValidationError, prefix: str = "") -> BadClaim:
    """The first problem of a validation error as a `BadClaim` that names the field by its wire name.

    A short value is repeated, escaped to ASCII so that look-alike letters show; a long one is not.
    """
    first = error.errors(include_url=False, include_context=True)[0]
    path = ".".join(str(part) for part in first["loc"])
    field = ".".join(part for part in (prefix, path) if part) or "claim"
    problem = problem_in_words(first["type"], first["msg"], first.get("ctx"))
    value = first.get("input")
    if first["type"] != "missing" and isinstance(value, (int, float, str)):
        problem += shown(value)
    return BadClaim(field, problem[:500])


def problem_in_words(kind: str, message: str, context: dict[str, Any] | None) -> str:
    """One of pydantic's errors as the end of a sentence that begins with the field's name."""
    if (sentence := _SENTENCES.get(kind)) is not None:
        return sentence.format_map(context or {})
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def shown(value: Any) -> str:
    """`` (got 5)`` for a short number or text, in ASCII; else nothing."""
    if isinstance(value, int) and value.bit_length() > 4 * MAX_SHOWN:
        return ""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return ""
    text = ascii(value)
    return f" (got {text})" if len(text) <= MAX_SHOWN else ""
