from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studio_worker_llama.answer import Answer, StopCutter, ThoughtSplitter


def cut(text: str, stops: list[str], size: int = 1) -> list[str]:
    cutter = StopCutter(stops)
    pieces = [cutter.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return [piece for piece in [*pieces, cutter.finish()] if piece]


def split(text: str, size: int = 1, **how: bool) -> tuple[str, str]:
    splitter = ThoughtSplitter(**how)
    deltas = [splitter.feed(text[at : at + size]) for at in range(0, len(text), size)]
    deltas.append(splitter.finish())
    return "".join(delta.reasoning for delta in deltas), "".join(delta.text for delta in deltas)


@given(st.text("ab<", max_size=30), st.lists(st.text("ab<", min_size=1, max_size=4), max_size=4), st.integers(1, 5))
def test_a_text_ends_before_its_first_stop_however_it_comes_in(text: str, stops: list[str], size: int) -> None:
    first = min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))
    # Piece by piece, the stop text that ends first wins.
    found = "".join(cut(text, stops, size))
    assert text.startswith(found)
    assert not any(stop in found for stop in stops)
    if size >= len(text):
        assert found == text[:first]


@given(st.text("ab", max_size=20), st.text("ab", min_size=1, max_size=4), st.integers(1, 5))
def test_one_stop_text_cuts_at_its_first_place(text: str, stop: str, size: int) -> None:
    assert "".join(cut(text, [stop], size)) == text.partition(stop)[0]


def test_what_could_become_a_stop_text_is_withheld() -> None:
    cutter = StopCutter(["\nUser:"])
    assert cutter.feed("Hello\nUs") == "Hello"
    assert not cutter.is_stopped
    assert cutter.feed("ually") == "\nUsually"
    assert cutter.feed("\nUser: more") == ""
    assert cutter.is_stopped
    assert cutter.feed("never") == cutter.finish() == ""


def test_an_empty_stop_text_is_no_stop_text() -> None:
    assert cut("abc", [""]) == ["a", "b", "c"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    ("text", "reasoning", "content"),
    [
        ("<think>why</think>because", "why", "because"),
        ("  <think>\nwhy \n</think>\n\nbecause ", "why", "because"),
        ("<think></think>x", "", "x"),
        ("<think>never closed ", "never closed", ""),
        ("no thinking, a < b", "", "no thinking, a < b"),
        ("say <think> later</think>", "", "say <think> later</think>"),
        ("<thin", "", "<thin"),
        ("<think>a</thin b</think>c</think>d", "a</thin b", "c</think>d"),
        ("", "", ""),
        ("   ", "", ""),
        ("  a  b  ", "", "a  b"),
    ],
)
def test_thinking_is_split_off_whatever_the_pieces(text: str, reasoning: str, content: str, size: int) -> None:
    assert split(text, size) == (reasoning, content)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_thinking_that_the_prompt_has_opened_goes_on(size: int) -> None:
    assert split("so\n</think>\n\nyes", size, is_thinking=True) == ("so", "yes")


def test_json_is_never_searched_for_thinking() -> None:
    assert split("<think>", is_plain=True) == ("", "<think>")


def test_a_character_of_several_tokens_comes_whole() -> None:
    answer = Answer()
    assert [answer.feed(bytes([byte])).text for byte in "é€".encode()] == ["", "é", "", "", "€"]
    answer.finish()
    assert answer.content == "é€"


def test_a_character_that_is_cut_off_is_replaced() -> None:
    answer = Answer()
    answer.feed(b"a\xe2\x82")
    answer.finish()
    assert answer.content == "a\ufffd"


@given(st.text(max_size=40), st.integers(1, 6))
def test_what_was_handed_on_is_the_answer(text: str, size: int) -> None:
    data, answer = text.encode(), Answer(["stop"])
    handed = [answer.feed(data[at : at + size]) for at in range(0, len(data), size)]
    handed.append(answer.finish())
    assert "".join(delta.text for delta in handed) == answer.content
    assert "".join(delta.reasoning for delta in handed) == answer.reasoning
