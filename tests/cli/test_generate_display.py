"""How far a local job is, on a terminal and elsewhere."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from studio_worker.cli.generate_display import BarDisplay, LineDisplay, display


def test_a_stage_is_a_line_when_it_begins_and_for_each_quarter(capsys: pytest.CaptureFixture[str]) -> None:
    with LineDisplay() as shown:
        shown.show("starting")
        for step in range(9):
            shown.show("sample", step, 8)
        shown.show("encode", 8, 8)
    assert capsys.readouterr().err.splitlines() == [
        "starting",
        "sample 0 of 8",
        "sample 2 of 8",
        "sample 4 of 8",
        "sample 6 of 8",
        "sample 8 of 8",
        "encode 8 of 8",
    ]


def test_a_download_is_told_in_megabytes(capsys: pytest.CaptureFixture[str]) -> None:
    LineDisplay().show("download", 1_500_000, 2_000_000_000)
    assert capsys.readouterr().err == "download 1.5 of 2,000.0 MB\n"


def test_a_download_of_unknown_length_is_told_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    LineDisplay().show("download", 1_500_000, 0)
    assert capsys.readouterr().err == "download 1.5 MB\n"


def test_once_the_result_itself_is_shown_no_line_follows(capsys: pytest.CaptureFixture[str]) -> None:
    shown = LineDisplay()
    shown.hide()
    shown.show("generate", 1, 2)
    assert capsys.readouterr().err == ""


def test_a_stage_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    LineDisplay().show("a\n2026 ERROR \x1b[2J", 1, 2)
    assert capsys.readouterr().err == "a\\n2026 ERROR \\x1b[2J 1 of 2\n"


def test_a_terminal_gets_a_bar_with_stage_and_count(terminal: Any) -> None:
    with terminal, display() as shown:
        assert isinstance(shown, BarDisplay)
        shown.show("download", 1_500_000, 3_000_000)
        shown._bars.refresh()
        shown.show("sample", 3, 20)
    said = terminal.words()
    assert re.search(r"download .*1\.5 of 3\.0 MB", said)
    assert re.search(r"sample .*3 of 20", said)


def test_the_bar_makes_way_for_the_result(terminal: Any) -> None:
    with terminal, display() as shown:
        shown.show("prompt", 1, 2)
        shown.hide()
        shown.hide()
        shown.show("generate", 2, 2)
    said = terminal.words()
    assert "prompt" in said
    assert "generate" not in said


def test_a_dumb_terminal_a_pipe_and_nothing_get_lines(terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(display(), LineDisplay)
    with terminal:
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(display(), LineDisplay)
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(display(), LineDisplay)
