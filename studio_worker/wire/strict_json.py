"""Reading JSON that strangers wrote: duplicates, numbers that are not finite, depth and surrogates are refused."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DIGITS_READ = 100
"""Digits of what is read at all: far more than any field may have, which then is refused by its name."""

MAX_BRACKETS = 1_000_000
"""Objects and arrays of one text: the reader holds up the event loop for about 1 µs each."""

MAX_DEPTH = 512
"""Levels of nesting; whatever is read may be written again, and the writer's own limit depends on the stack."""


class NotJson(ValueError):
    """The text is not JSON that the contract allows; the message says why, in a few words."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        NotJson: broken syntax, a repeated key, NaN or an infinity (1e400 is one), an integer of more than
            100 digits, a lone surrogate, invalid UTF-8, nesting deeper than 512 levels, or more brackets than
            a second of work.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        brackets = text.count("[") + text.count("{")
        if brackets > MAX_BRACKETS:
            raise NotJson(f"more than {MAX_BRACKETS:,} brackets")
        value = _DECODER.decode(text)
        if not text.isascii():
            text.encode()
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
        if brackets > MAX_DEPTH:
            _check_depth(value)
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except UnicodeError:
        raise NotJson("a lone surrogate or invalid UTF-8") from None
    except NotJson:
        raise
    except ValueError as error:
        raise NotJson(f"not JSON ({error})") from None
    return value


def dumps(value: Any) -> str:
    """The compact JSON text of a value; raises ValueError for what JSON cannot carry."""
    return _ENCODER.encode(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise NotJson("a repeated key")
    return out


def _constant(name: str) -> NoReturn:
    raise NotJson(f"the number {name}")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotJson("a number out of range")
    return number


def _integer(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > MAX_DIGITS_READ:
        raise NotJson(f"an integer of {digits} digits")
    return int(text)


def _check_depth(value: Any) -> None:
    """Refuse nesting past the bound."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise NotJson("nested too deeply")


_SHOWN_DEPTH = 64


def dumps_lossy(value: Any, *, indent: int | None = None) -> str:
    """Valid JSON of anything: NaN and infinities become null, lone surrogates are escaped, the rest its `str`."""
    return json.dumps(_plain(value), ensure_ascii=True, allow_nan=False, default=str, indent=indent)


def _plain(value: Any, depth: int = 0) -> Any:
    if depth > _SHOWN_DEPTH:
        return "…"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    return value


# Made once: the module's own functions build a new one for every call with options.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
