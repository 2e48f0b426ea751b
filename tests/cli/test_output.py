from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli import output

ROWS = [
    {"jobId": "a", "state": "done", "files": ["x", "y"], "is_new": True},
    {"jobId": "bb", "state": None, "files": [], "is_new": False},
]


def test_rows_are_aligned_text_where_nobody_looks_on(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(ROWS, as_json=False)
    assert capsys.readouterr().out == (
        "JOBID  STATE  FILES  IS_NEW\na      done   x, y   true\nbb                   false\n"
    )


def test_rows_as_json_are_all_of_them_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([{"text": "x" * 10_000}], as_json=True, columns=["nothing"])
    assert json.loads(capsys.readouterr().out) == [{"text": "x" * 10_000}]


def test_no_rows_are_an_empty_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_no_rows_are_a_message_on_stderr_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([], as_json=False, empty="none here")
    assert capsys.readouterr() == ("", "none here\n")


def test_columns_choose_and_order(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows(ROWS, as_json=False, columns=["state", "jobId"])
    assert capsys.readouterr().out.splitlines()[:2] == ["STATE  JOBID", "done   a"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ok\n2026 | ERROR | forged", "ok\\n2026 | ERROR | forged"),
        ("\x1b[2J\x9b31m", "\\x1b[2J\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("[/nope] [red]x[/red]", "[/nope] [red]x[/red]"),
        ("{job[0]} %s", "{job[0]} %s"),
    ],
)
def test_text_from_outside_cannot_drive_the_terminal(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([{"m": text}], as_json=False)
    output.record({"m": text}, as_json=False)
    output.say(text)
    output.note(text)
    out, err = capsys.readouterr()
    assert out == f"M\n{shown}\nm: {shown}\n{shown}\n"
    assert err == f"{shown}\n"


def test_a_long_cell_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([{"m": "x" * 1_000}], as_json=False)
    assert "… (800 more)" in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", "\0", {"a": [float("nan")]}, b"x", object()])
def test_json_is_valid_whatever_it_holds(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    output.json_text({"v": value})
    output.record({"v": value}, as_json=True)
    for text in capsys.readouterr().out.split("}\n{"):
        assert "NaN" not in text
        assert "Infinity" not in text
    output.json_text([value])
    json.loads(capsys.readouterr().out)


def test_a_closed_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as closed:
        pass
    monkeypatch.setattr(sys, "stderr", closed)
    output.note("unheard")
    monkeypatch.setattr(sys, "stderr", None)
    output.note("unheard")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that takes nothing is a thing of Linux")
def test_a_stdout_that_takes_nothing_is_told_in_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "studio_worker", "config", "--json"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "studio-worker: stdout cannot be written: No space left on device\n")


SHOW = """
from studio_worker.cli import output
output.rows([{"name": "[/nope] [red]x", "note": "\\x1b[2J\\u202e"}], as_json=False)
"""


def on_a_terminal(**environ: str) -> str:
    """What the table looks like to a person: run with stdout on a pseudo-terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOW], stdout=follower, env=os.environ | {"TERM": "xterm-256color"} | environ
    ) as child:
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
        assert child.wait(60) == 0
    os.close(leader)
    return shown.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_person_gets_a_table_without_markup_or_control_characters() -> None:
    shown = on_a_terminal()
    assert "[/nope] [red]x" in shown
    assert "\\x1b[2J\\u202e" in shown
    assert "\x1b[2J" not in shown
    assert "─" in shown


def test_a_person_who_wants_no_colour_gets_none() -> None:
    assert "\x1b[3" not in on_a_terminal(NO_COLOR="1")


def test_a_dumb_terminal_gets_plain_text() -> None:
    shown = on_a_terminal(TERM="dumb")
    assert "\x1b" not in shown
    assert "─" not in shown


def test_a_results_text_reaches_a_pipe_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.text("a\x1b[2J\n\tb")
    assert capsys.readouterr().out == "a\x1b[2J\n\tb"


def test_a_results_text_breaks_lines_on_a_terminal_and_does_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.text("a\x1b[2J\r\n\tb\u202e" + "x" * 5_000)
    assert capsys.readouterr().out == "a\\x1b[2J\\r\n\tb\\u202e" + "x" * 5_000
