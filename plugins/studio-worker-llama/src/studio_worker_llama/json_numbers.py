"""Numbers within bounds, as rules of a grammar."""

from __future__ import annotations

import math
from fractions import Fraction

from studio_worker import BadInput

_INTEGER = '"-"? ("0" | [1-9] [0-9]{0,14})'
_FRACTION = '("." [0-9]{1,15})?'
_EXACT_DIGITS = 15
_FARTHEST = 10**_EXACT_DIGITS - 1
_MAX_LISTED = 200

LONGEST = 36
"""Characters of the longest number: a sign, 15 digits, a point, 15 more, an ``e`` with a sign and two digits."""

Bound = float | int | None


def integer_rule(low: Bound, high: Bound, is_above: bool, is_below: bool, *, at: str) -> str:
    """Whole numbers of at most 15 digits, from `low` to `high`, each left out where `is_above` or `is_below`.

    Raises:
        BadInput: there is none.
    """
    if low is None and high is None:
        return _INTEGER
    least = -_FARTHEST if low is None else math.floor(low) + 1 if is_above else math.ceil(low)
    most = _FARTHEST if high is None else math.ceil(high) - 1 if is_below else math.floor(high)
    least, most = max(least, -_FARTHEST), min(most, _FARTHEST)
    if least > most:
        raise BadInput(f"{at}.minimum: there is no whole number of at most 15 digits within the bounds")
    return _integers(least, most)


def number_rule(low: Bound, high: Bound, is_above: bool, is_below: bool, *, at: str) -> str:
    """Numbers within bounds: whole ones, and fractions wherever a whole step between two of them fits.

    Raises:
        BadInput: there is none with few digits.
    """
    if low is None and high is None:
        return f"{_INTEGER} {_FRACTION} ([eE] [-+]? [0-9]{{1,2}})?"
    least = -_FARTHEST if low is None else math.ceil(low)
    most = _FARTHEST if high is None else math.floor(high)
    rules = []
    first, last = least + (is_above and least == low), most - (is_below and most == high)
    if max(first, -_FARTHEST) <= min(last, _FARTHEST):
        rules.append(_integers(max(first, -_FARTHEST), min(last, _FARTHEST)))
    # x.5 lies between x and the next whole number away from zero, so both must be inside; a fraction has a last digit
    # that is no zero, which keeps it from being the bound itself: within the 15 digits that a double keeps apart.
    digits = (
        _EXACT_DIGITS - 1 - max((len(str(int(abs(bound)))) for bound in (low, high) if bound is not None), default=0)
    )
    fraction = f'"." [0-9]{{0,{max(digits - 1, 0)}}} [1-9]'
    if digits > 0 and max(least, 0) <= min(most, _FARTHEST) - 1:
        rules.append(f"({_integers(max(least, 0), min(most, _FARTHEST) - 1)}) {fraction}")
    if digits > 0 and max(-most, 0) <= min(-least, _FARTHEST) - 1:
        rules.append(f'"-" ({_integers(max(-most, 0), min(-least, _FARTHEST) - 1)}) {fraction}')
    if not rules and low is not None and high is not None:
        rules = _listed(Fraction(str(low)), Fraction(str(high)), is_above, is_below)
    if not rules:
        raise BadInput(f"{at}.minimum: there is no number with few digits within the bounds")
    return " | ".join(f"({rule})" for rule in rules)


def _listed(low: Fraction, high: Fraction, is_above: bool, is_below: bool) -> list[str]:
    """Numbers between two bounds that lie closer than one, with as few digits as give some."""
    found: list[str] = []
    for digits in range(1, 13):
        scale = 10**digits
        for number in range(math.ceil(low * scale), math.floor(high * scale) + 1):
            value = Fraction(number, scale)
            if (value > low or not is_above) and (value < high or not is_below):
                sign, whole = ("-" if number < 0 else ""), abs(number)
                found.append(f'"{sign}{whole // scale}.{whole % scale:0{digits}}"')
            if len(found) >= _MAX_LISTED:
                return found
        if found:
            return found
    return found


def _integers(low: int, high: int) -> str:
    if high < 0:
        return f'"-" ({_between(-high, -low)})'
    if low < 0:
        return f'"-" ({_between(1, -low)}) | {_between(0, high)}'
    return _between(low, high)


def _between(low: int, high: int) -> str:
    """Digits of the numbers from `low` to `high`, neither below zero."""
    rules: list[str] = []
    while low <= high:
        last = min(high, 10 ** len(str(low)) - 1)
        rules += _same_length(str(low), str(last))
        low = last + 1
    return " | ".join(rules)


def _same_length(low: str, high: str) -> list[str]:
    """Digits from `low` to `high`, both of one length."""
    if low == high:
        return [f'"{low}"']
    if len(low) == 1:
        return [f"[{low}-{high}]"]
    rest = len(low) - 1
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        return [f"[{low[0]}-{high[0]}] [0-9]{{{rest}}}"]
    if low[0] == high[0]:
        return [f'"{low[0]}" ({" | ".join(_same_length(low[1:], high[1:]))})']
    rules: list[str] = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        rules.append(f'"{low[0]}" ({" | ".join(_same_length(low[1:], "9" * rest))})')
        first += 1
    upper: list[str] = []
    if high[1:] != "9" * rest:
        upper.append(f'"{high[0]}" ({" | ".join(_same_length("0" * rest, high[1:]))})')
        last -= 1
    if first <= last:
        rules.append(f"[{first}-{last}] [0-9]{{{rest}}}")
    return [*rules, *upper]
