from __future__ import annotations

from collections.abc import Callable

import pytest

from studio_worker.cli.models_display import FileBars, FileLines, file_display


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    return lambda: capsys.readouterr().err.splitlines()


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_a_terminal_gets_bars_and_a_pipe_gets_lines(terminal) -> None:
    with terminal:
        assert isinstance(file_display(), FileBars)
    assert isinstance(file_display(), FileLines)


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal:
        assert isinstance(file_display(), FileLines)


def test_a_line_comes_for_each_tenth_with_the_speed_since_the_last(lines, seconds: Seconds) -> None:
    with FileLines(seconds) as shown:
        track = shown.track("a.gguf")
        for done in range(101):
            track.tell(done * 10**7, 10**9)
            seconds.now += 0.05
    said = lines()
    assert len(said) == 10
    assert said[0] == "a.gguf: 10 % of 1 GB, 200 MB/s"
    assert said[-1] == "a.gguf: 100 % of 1 GB, 200 MB/s"


def test_what_was_here_before_counts_for_no_speed(lines, seconds: Seconds) -> None:
    with FileLines(seconds) as shown:
        track = shown.track("a.gguf")
        track.tell(5 * 10**8, 10**9)
        assert lines() == []
        seconds.now += 2
        track.tell(6 * 10**8, 10**9)
    assert lines() == ["a.gguf: 60 % of 1 GB, 50 MB/s"]


def test_a_slow_file_is_told_of_every_ten_seconds(lines, seconds: Seconds) -> None:
    with FileLines(seconds) as shown:
        track = shown.track("a.gguf")
        for _ in range(21):
            track.tell(10**7, 10**9)
            seconds.now += 1
    assert lines() == ["a.gguf: 1 % of 1 GB", "a.gguf: 1 % of 1 GB"]


def test_a_file_of_unknown_length_is_told_of_by_its_bytes(lines, seconds: Seconds) -> None:
    with FileLines(seconds) as shown:
        track = shown.track("a.gguf")
        track.tell(0, None)
        seconds.now += 10
        track.tell(2 * 10**7, None)
    assert lines() == ["a.gguf: 20 MB, 2 MB/s"]


def test_the_end_of_a_file_is_a_line(lines) -> None:
    with FileLines() as shown:
        shown.track("a.gguf").end("was here already")
    assert lines() == ["a.gguf: was here already"]


def test_a_name_cannot_drive_the_terminal_by_lines(lines) -> None:
    with FileLines() as shown:
        shown.track("a\x1b[2J").end("x")
    assert lines() == ["a\\x1b[2J: x"]


def test_a_bar_shows_name_bytes_and_the_end(terminal) -> None:
    with terminal, FileBars() as shown:
        track = shown.track("a.gguf")
        track.tell(0, 4_000_000)
        track.tell(1_000_000, 4_000_000)
        (task,) = shown._bars.tasks
        assert (task.completed, task.total) == (1_000_000, 4_000_000)
        track.tell(4_000_000, 4_000_000)
        track.end("downloaded")
        assert task.stop_time is not None
    words = terminal.words()
    assert "a.gguf" in words
    assert "4.0/4.0 MB" in words
    assert "downloaded" in words


def test_a_bar_of_a_resumed_file_begins_where_it_was(terminal) -> None:
    with terminal, FileBars() as shown:
        track = shown.track("a.gguf")
        track.tell(3_000_000, 4_000_000)
        (task,) = shown._bars.tasks
        assert (task.completed, task.speed) == (3_000_000, None)


def test_a_bar_without_a_length_pulses_and_its_end_is_whole(terminal) -> None:
    with terminal, FileBars() as shown:
        track = shown.track("a.gguf")
        track.tell(10, None)
        (task,) = shown._bars.tasks
        assert task.total is None
        track.end("downloaded")
        assert task.total == 10


def test_names_from_outside_are_literal_escaped_and_short_in_bars(terminal) -> None:
    with terminal, FileBars() as shown:
        shown.track("[bold]\x1b]0;owned\x07" + "x" * 300).end("[/nope]")
    text = terminal.text()
    assert "\x1b]0;" not in text
    assert "[bold]" in text
    assert "[/nope]" in text


def test_the_cursor_is_given_back_also_after_an_error(terminal) -> None:
    def fail() -> None:
        with terminal, FileBars() as shown:
            shown.track("a")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert terminal.text().endswith("\x1b[?25h")
