"""Numbers within bounds: each rule is read back as a regular expression."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from studio_worker_llama.json_numbers import LONGEST, integer_rule, number_rule

from studio_worker import BadInput

BOUNDS = st.integers(-2_000, 2_000)
FRACTIONS = st.decimals(-30, 30, places=2, allow_nan=False).map(float)


def pattern(rule: str) -> re.Pattern[str]:
    """GBNF without rule names, as a regular expression."""
    parts = re.findall(r'"[^"]*"|\[[^]]*\]|\{[^}]*\}|[()|?*]', rule)
    return re.compile("".join(re.escape(part[1:-1]) if part[0] == '"' else part for part in parts))


def integer(low: int | None, high: int | None, *, is_above: bool = False, is_below: bool = False) -> re.Pattern[str]:
    return pattern(integer_rule(low, high, is_above, is_below, at="here"))


def number(low: float | None, high: float | None, *, is_above: bool = False, is_below: bool = False) -> re.Pattern[str]:
    return pattern(number_rule(low, high, is_above, is_below, at="here"))


@given(BOUNDS, st.integers(0, 3_000), st.integers(-6_000, 6_000))
@example(0, 0, 0)
@example(-1, 1, -1)
@example(99, 2, 100)
def test_every_whole_number_within_the_bounds_and_no_other_is_taken(low: int, span: int, value: int) -> None:
    assert bool(integer(low, low + span).fullmatch(str(value))) is (low <= value <= low + span)


@given(BOUNDS, st.integers(-6_000, 6_000))
def test_one_bound_is_enough(bound: int, value: int) -> None:
    assert bool(integer(bound, None).fullmatch(str(value))) is (value >= bound)
    assert bool(integer(None, bound).fullmatch(str(value))) is (value <= bound)


@given(BOUNDS, st.integers(2, 500))
def test_a_bound_that_is_left_out_is_left_out(low: int, span: int) -> None:
    found = integer(low, low + span, is_above=True, is_below=True)
    taken = {value for value in (low, low + 1, low + span - 1, low + span) if found.fullmatch(str(value))}
    assert taken == {low + 1, low + span - 1}


@pytest.mark.parametrize("text", ["", "-", "01", "+1", "1.0", "1e3", " 1", "--1", "٣"])
def test_what_json_writes_otherwise_is_no_whole_number(text: str) -> None:
    for found in (integer(None, None), integer(-5_000, 5_000)):
        assert not found.fullmatch(text)


@given(FRACTIONS, st.floats(0.01, 40), st.booleans(), st.booleans(), st.data())
def test_no_number_outside_the_bounds_is_taken(
    low: float, span: float, is_above: bool, is_below: bool, data: st.DataObject
) -> None:
    high = low + span
    try:
        found = number(low, high, is_above=is_above, is_below=is_below)
    except BadInput:
        return
    text = data.draw(st.from_regex(found, fullmatch=True, alphabet="0123456789.-"))
    value = float(text)
    assert (low < value) if is_above else (low <= value)
    assert (value < high) if is_below else (value <= high)


@pytest.mark.parametrize(("low", "high"), [(16, 17), (-17, -16), (0, 1), (10**13, 10**13 + 1), (10**14, 10**14 + 1)])
def test_a_fraction_never_rounds_to_the_bound_that_is_left_out(low: int, high: int) -> None:
    rule = number_rule(low, high, True, True, at="here") if high < 10**14 else ""
    for places in range(1, 17):
        below, above = f"{low}." + "0" * (places - 1) + "1", f"{high - 1}." + "9" * places
        for text in (below, above):
            if rule and pattern(rule).fullmatch(text):
                assert low < float(text) < high


def test_bounds_closer_than_one_have_the_numbers_with_few_digits() -> None:
    found = number(0.25, 0.5)
    assert [text for text in ("0.2", "0.3", "0.4", "0.5", "0.6") if found.fullmatch(text)] == ["0.3", "0.4", "0.5"]
    assert number(0.11, 0.12, is_above=True).fullmatch("0.12")


@pytest.mark.parametrize(
    ("low", "high", "problem"), [(3, 2, "no whole number"), (10**16, None, "no whole number"), (0.2, 0.8, "no whole")]
)
def test_bounds_without_a_whole_number_are_refused(low: float, high: float | None, problem: str) -> None:
    with pytest.raises(BadInput, match=f"^here.minimum: .*{problem}"):
        integer_rule(low, high, False, False, at="here")


def test_bounds_without_any_number_are_refused() -> None:
    with pytest.raises(BadInput, match="no number with few digits"):
        number_rule(0.5, 0.5, True, False, at="here")


@given(st.data())
def test_no_number_is_longer_than_told(data: st.DataObject) -> None:
    for found in (number(None, None), integer(None, None), number(-3, None)):
        text = data.draw(st.from_regex(found, fullmatch=True, alphabet="0123456789.-+eE"))
        assert len(text) <= LONGEST
        assert math.isfinite(float(text))
