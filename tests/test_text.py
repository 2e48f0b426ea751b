from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.text import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("Grüße 你好 🎉", "Grüße 你好 🎉"),
        ("ok\n2026-01-01 | ERROR | forged", "ok\\n2026-01-01 | ERROR | forged"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("abc\u202exe.png", "abc\\u202exe.png"),
        ("\u2066\u2069\u200e\u061c", "\\u2066\\u2069\\u200e\\u061c"),
        ("a\u200bb\u200db\ufeff", "a\\u200bb\\u200db\\ufeff"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\u3164\u034f", "\\u3164\\u034f"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("", ""),
    ],
)
def test_what_could_forge_a_line_or_drive_a_terminal_is_spelt_out(text, shown):
    assert escape(text) == shown


@given(st.text(st.characters()))
def test_the_outcome_is_one_visible_line_whatever_comes_in(text):
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in shown)
    shown.encode()


@given(st.text(st.characters(max_codepoint=126, min_codepoint=32)))
def test_plain_text_is_kept_as_it_is(text):
    assert escape(text) == text


def test_what_is_cut_is_counted():
    assert escape("x" * 1_001_000, limit=1_000) == "x" * 1_000 + "… (1,000,000 more)"
    assert escape("x" * 1_000, limit=1_000) == "x" * 1_000


@given(st.text(), st.integers(0, 20))
def test_escaping_twice_shows_the_same(text, limit):
    once = escape(text)
    assert escape(once) == once
    assert len(escape(text, limit=limit)) <= 10 * limit + 40
