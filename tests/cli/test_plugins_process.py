from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from studio_worker.cli import plugins_process
from studio_worker.cli.plugins_process import InstallFailed, run_installer
from studio_worker.engines.process_group import group_is_gone


def run(code: str) -> list[str]:
    lines: list[str] = []
    run_installer([sys.executable, "-c", code], "do it", lines.append)
    return lines


def test_lines_of_both_streams_come_one_by_one() -> None:
    assert run("import sys; print('one'); print('two', file=sys.stderr); print('ü')") == ["one", "two", "ü"]


def test_a_failure_says_what_with_the_status_and_the_lines_that_name_errors() -> None:
    with pytest.raises(InstallFailed, match=r"could not do it \(exit status 3\): ERROR: no; ERROR: never$"):
        run("print('ERROR: no\\nnoise\\nERROR: never\\nmore noise'); raise SystemExit(3)")


def test_a_failure_without_a_named_error_has_the_last_lines() -> None:
    with pytest.raises(InstallFailed, match=r": b; c; d$"):
        run("print('a\\nb\\nc\\nd\\n'); raise SystemExit(1)")


def test_a_failure_drives_no_terminal() -> None:
    with pytest.raises(InstallFailed, match=r"error: \\x1b\[2J"):
        run("print('error: \\x1b[2J'); raise SystemExit(1)")


def test_a_silent_failure_is_one_too() -> None:
    with pytest.raises(InstallFailed, match="it said nothing"):
        run("raise SystemExit(1)")


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(InstallFailed, match="/nowhere/pip could not do it: it cannot be started"):
        run_installer(["/nowhere/pip"], "do it", print)


def test_it_runs_in_an_empty_folder_that_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("")
    monkeypatch.chdir(tmp_path)
    where, files = run("import os; print(os.getcwd()); print(os.listdir())")
    assert files == "[]"
    assert not Path(where).exists()


def test_no_setting_and_no_token_of_the_worker_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "secret")
    (found,) = run("import json, os; print(json.dumps(dict(os.environ)))")
    assert "secret" not in json.loads(found).values()


def test_it_reads_nothing_of_the_users_keyboard() -> None:
    assert run("import sys; print(repr(sys.stdin.read()))") == ["''"]


def test_what_breaks_off_the_reading_ends_it(leaves_nothing) -> None:  # type: ignore[no-untyped-def]
    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with leaves_nothing(), pytest.raises(KeyboardInterrupt):
        run_installer([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(100)"], "do it", stop)


def test_what_it_has_started_ends_with_it_where_it_does_not_end_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins_process, "GRACE_SECS", 0.1)
    stubborn = "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(os.getpid(), flush=True); "
    code = f"""
{stubborn}
import subprocess, sys
subprocess.run([sys.executable, "-c", {stubborn + "time.sleep(100)"!r}])
"""
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_installer([sys.executable, "-c", code], "do it", stop)
    assert asyncio.run(group_is_gone(int(lines[0]), within_secs=10))


def test_it_may_undo_what_it_has_begun(tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    code = f"""
import pathlib, time
try:
    print("begun", flush=True)
    time.sleep(100)
except KeyboardInterrupt:
    pathlib.Path({str(undone)!r}).touch()
"""

    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_installer([sys.executable, "-c", code], "do it", stop)
    assert undone.exists()
