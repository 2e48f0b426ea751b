"""What an engine's process prints, cut into bounded lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.captured import CUT, MAX_LINE_BYTES, MAX_LINES_A_SECOND, CapturedOutput


class Time:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def captured(*pieces: bytes, now=None) -> tuple[list[str], CapturedOutput]:
    lines: list[str] = []
    output = CapturedOutput(lines.append, now or Time())
    for piece in pieces:
        output.feed(piece)
    return lines, output


@given(st.lists(st.text("ab", min_size=1, max_size=9), max_size=9), st.integers(1, 50))
def test_lines_are_the_same_however_they_come(words, size):
    data = "".join(f"{word}\n" for word in words).encode()
    assert captured(*(data[start : start + size] for start in range(0, len(data), size)))[0] == words


def test_a_line_that_was_begun_is_one_at_the_end():
    lines, output = captured(b"one\ntw", b"o")
    assert lines == ["one"]
    output.close()
    assert lines == ["one", "two"]


def test_empty_lines_say_nothing():
    assert captured(b"\n  \n\r\nx\n")[0] == ["x"]


def test_a_line_that_is_rewritten_says_its_last_state():
    assert captured(b"10%\r50%\r100%\n")[0] == ["100%"]


def test_what_could_drive_a_terminal_is_escaped():
    assert captured("\x1b[2J\u202e\n".encode())[0] == ["\\x1b[2J\\u202e"]


@pytest.mark.parametrize("size", [1_000, 10_000_000])
def test_a_long_line_is_cut_with_a_mark(size):
    lines, _ = captured(*([b"x" * size] * 10), b"\nnext\n")
    assert lines == ["x" * MAX_LINE_BYTES + CUT, "next"]


def test_lines_past_the_budget_of_a_second_are_counted_and_told_later():
    now = Time()
    lines, output = captured(*(b"%d\n" % n for n in range(150)), now=now)
    assert len(lines) == MAX_LINES_A_SECOND
    now.now += 1
    output.feed(b"later\n")
    assert lines[-2:] == ["… (50 lines left out)", "later"]


def test_a_flood_in_one_piece_is_counted_without_being_read():
    lines, output = captured(b"line\n" * 200_000 + b"the end\n")
    output.close()
    assert len(lines) == MAX_LINES_A_SECOND + 1
    assert lines[-1] == "… (199,901 lines left out)"


def test_the_last_words_are_the_last_three_lines_also_of_a_flood():
    _, output = captured(b"line\n" * 200_000 + b"a\nb\n\nc\n")
    assert output.last_words == "a | b | c"
