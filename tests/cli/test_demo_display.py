from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from studio_worker.cli.demo_display import BarDisplay, LineDisplay, display


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    return lambda: capsys.readouterr().err.splitlines()


def job(state: str, **more: Any) -> dict[str, Any]:
    return {"jobId": "cup", "state": state, **more}


def test_a_terminal_gets_bars_and_a_pipe_gets_lines(terminal) -> None:
    with terminal:
        assert isinstance(display(), BarDisplay)
    assert isinstance(display(), LineDisplay)


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal:
        assert isinstance(display(), LineDisplay)


def test_a_process_without_stderr_gets_lines_that_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with display() as shown:
        shown.show(job("done"))
    assert isinstance(shown, LineDisplay)


def test_a_line_is_written_when_a_state_changes_and_only_then(lines) -> None:
    with LineDisplay() as shown:
        for state in ("queued", "queued", "claimed", "claimed", "done"):
            shown.show(job(state))
    assert lines() == ["cup: queued", "cup: claimed", "cup: done"]


def test_a_failed_jobs_line_has_its_error_on_one_line(lines) -> None:
    with LineDisplay() as shown:
        shown.show(job("failed", error="it broke\nand \x1b[31mbled"))
    (line,) = lines()
    assert line.startswith("cup: failed: it broke")
    assert "\x1b" not in line


def test_lines_tell_jobs_apart(lines) -> None:
    with LineDisplay() as shown:
        shown.show(job("queued"))
        shown.show(job("queued") | {"jobId": "mug"})
    assert lines() == ["cup: queued", "mug: queued"]


def test_a_bar_shows_job_state_and_stage(terminal) -> None:
    with terminal, BarDisplay() as shown:
        shown.show(job("queued"))
        shown.show(job("claimed", progress={"step": 2, "total": 8, "stage": "paint"}))
    words = terminal.words()
    assert "cup" in words
    assert "claimed paint" in words


def test_a_done_job_has_a_full_bar_and_its_state(terminal) -> None:
    with terminal, BarDisplay() as shown:
        shown.show(job("claimed"))
        shown.show(job("done"))
        (task,) = shown._bars.tasks
    assert (task.completed, task.total, task.fields["state"]) == (1.0, 1.0, "done")
    assert "done" in terminal.words()


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (2, 0.25), (8, 1.0)])
def test_the_bar_is_as_long_as_the_progress(terminal, step, share) -> None:
    with terminal, BarDisplay() as shown:
        shown.show(job("claimed", progress={"step": step, "total": 8, "stage": "run"}))
        (task,) = shown._bars.tasks
    assert task.completed == share


@pytest.mark.parametrize("progress", [None, {}, {"step": 0, "total": 0, "stage": ""}])
def test_a_job_without_progress_has_an_empty_bar(terminal, progress) -> None:
    with terminal, BarDisplay() as shown:
        shown.show(job("claimed", progress=progress))
        (task,) = shown._bars.tasks
    assert (task.completed, task.fields["state"]) == (0.0, "claimed")


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_an_ended_jobs_clock_stands_still(terminal, state) -> None:
    with terminal, BarDisplay() as shown:
        shown.show(job("claimed"))
        shown.show(job(state))
        (task,) = shown._bars.tasks
    assert task.stop_time is not None


def test_a_job_that_has_not_begun_has_no_time(terminal) -> None:
    with terminal, BarDisplay() as shown:
        shown.show(job("queued"))
        (task,) = shown._bars.tasks
    assert task.elapsed is None


def test_names_and_stages_from_outside_are_literal_escaped_and_short(terminal) -> None:
    with terminal, BarDisplay() as shown:
        odd = {"step": 1, "total": 2, "stage": "[bold]\x1b]0;owned\x07" + "x" * 500}
        shown.show({"jobId": "[/nope]", "state": "claimed", "progress": odd})
        (task,) = shown._bars.tasks
    assert len(task.fields["state"]) < 60
    text = terminal.text()
    assert "\x1b]0;" not in text
    assert "[/nope]" in text
    assert "[bold]" in text


def test_the_cursor_is_given_back_also_after_an_error(terminal) -> None:
    def fail() -> None:
        with terminal, BarDisplay() as shown:
            shown.show(job("claimed"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert terminal.text().endswith("\x1b[?25h")
