from __future__ import annotations

import re
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.wire.patterns import check_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)*",
        "(a*)*",
        "(.*,)*x",
        r"(\d+,?)+",
        "(a|ab|b)*c",
        "(a?){30}a{30}",
        "(a{1,3})*",
        "((a|a)){20}",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
        "(x+x+)+y",
        "(?:a|a?)+",
        "([a-zA-Z]+)*",
        r"(\w|\d)+",
        "(é|[^a])+$",
        r"(\x61|a)+",
        r"(\1|a)+",
        r"(\p{L}|é)+",
        "(?<name>a+)+",
        "(a+?)+?",
        "(a|[b-a]|a)*",
        "(?=(a+)+$)b",
        "^(?!(a|a)*x)",
    ],
)
def test_a_pattern_that_can_be_read_in_two_ways_inside_a_repetition_is_refused(pattern):
    with pytest.raises(ValueError, match="two ways") as caught:
        check_pattern(pattern)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^[a-z]+$",
        "^(foo|bar)$",
        r"^\d{4}-\d{2}-\d{2}$",
        "(ab)*",
        "([a-z]+,)*",
        r"^[\w.]+@([\w-]+\.)+[\w-]{2,4}$",
        r"^[^\s@]+@[^\s@]+\.[^\s@]+$",
        "^https?://.*$",
        r"^\p{L}+$",
        "^#[0-9a-fA-F]{6}$",
        "^.{1,10000}$",
        r"^(?:\+\d{1,3} )?\d{3}-\d{4}$",
        r"(?<year>\d{4})",
        "^[a-z0-9]+(?:-[a-z0-9]+)*$",
        "^(?!x).*$",
        r"[\]\-a]+",
        r"^([01]\d|2[0-3]):[0-5]\d$",
        r"^\$\d+(\.\d{2})?$",
        r"^(\d{1,3}\.){3}\d{1,3}$",
        r"^[-+]?\d*\.?\d+([eE][-+]?\d+)?$",
        r"\/a\b",
        "a{",
        "(a|a){3}",
        "(a{0})*",
        r"^(?=.*[A-Z])(?=.*\d).{8,}$",
        "(?:(?!ab).)*",
        "a?" * 300,
    ],
)
def test_an_ordinary_pattern_is_taken(pattern):
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "never closes"),
        (")", "never opened"),
        ("*a", "repeats nothing"),
        ("[a", "ends too early"),
        ("\\", "ends too early"),
        ("a{3,2}", "from more to less"),
        ("(?", "unknown kind"),
        ("(" * 40 + ")" * 40, "nests more than"),
        ("((((a{32}){32}){32}){32})", "too complex"),
        ("a" * 1_001, "at most 1,000"),
    ],
    ids=lambda value: value[:12],
)
def test_a_broken_or_huge_pattern_is_refused_with_the_reason(pattern, reason, within_reason):
    with pytest.raises(ValueError, match=reason), within_reason():
        check_pattern(pattern)


@given(st.text("ab()[]|*+?{},0123\\^$.-dw", max_size=60))
def test_no_text_takes_long_or_brings_anything_but_a_reason(within_reason, pattern):
    with within_reason(), suppress(ValueError):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(ab)*c", "([a-z]+,)*!", r"^([\w-]+\.)+[\w-]{2,4}$"])
def test_what_is_taken_is_fast_on_hostile_text(pattern, within_reason):
    with within_reason():
        assert re.fullmatch(pattern, "ab,ab." * 2_000 + "\0") is None


@pytest.mark.parametrize("part", ["a?", "a*", "a{0,9}"])
def test_a_pattern_is_judged_without_an_automaton_that_grows_with_its_square(part):
    pattern = part * (600 // len(part))
    tracemalloc.start()
    try:
        check_pattern(pattern)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000
