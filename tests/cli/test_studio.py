from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


@contextmanager
def hosting(*args: str) -> Iterator[subprocess.Popen[str]]:
    """A real `studio` on a free port."""
    child = subprocess.Popen(
        [sys.executable, "-m", "studio_worker", "studio", "--port", "0", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def first_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_cleanly(number: signal.Signals, home: Path) -> None:
    with hosting("--data", str(home / "farm")) as child:
        assert first_line(child).startswith("studio: http://127.0.0.1:")
        child.send_signal(number)
        assert child.wait(30) == 0


def test_its_data_lies_in_the_state_folder_unless_told_otherwise(home: Path, cli: Call) -> None:
    with hosting("--json") as child:
        said = json.loads(first_line(child))
        folder = home / ".local" / "state" / "minis-studio-worker" / "studio"
        assert said == {"url": said["url"], "data": str(folder), "adminFile": str(folder / "admin.json")}
        assert stat.S_IMODE((folder / "admin.json").stat().st_mode) == 0o600
        assert json.loads(cli("jobs", "--json").out) == []


def test_people_get_a_link_to_the_dashboard_and_a_hint_for_workers(home: Path) -> None:
    with hosting("--data", str(home / "farm")) as child:
        first_line(child)
        assert child.stderr is not None
        said = [child.stderr.readline() for _ in range(3)]
        assert any(line.startswith("dashboard: http://127.0.0.1:") for line in said)
        token = json.loads((home / "farm" / "admin.json").read_text())["token"]
        assert token not in "".join(said)


def test_a_taken_port_is_a_sentence(home: Path, cli: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
        outcome = cli("studio", "--port", port, "--data", str(home / "farm"))
    assert outcome.status == 1
    assert port in outcome.err
    assert "Traceback" not in outcome.err


def test_a_data_folder_that_cannot_be_made_is_a_sentence(cli: Call) -> None:
    outcome = cli("studio", "--port", "0", "--data", "/proc/nowhere")
    assert outcome.status == 78
    assert "/proc/nowhere" in outcome.err


@pytest.mark.parametrize("port", ["-1", "65536", "١٢", "many"])
def test_a_bad_port_is_a_usage_error(port: str, cli: Call) -> None:
    outcome = cli("studio", "--port", port)
    assert outcome.status == 2
    assert "must be a whole number from 0 to 65535" in outcome.err


@pytest.mark.parametrize("attempts", ["0", "-1", "x"])
def test_a_bad_number_of_attempts_is_a_usage_error(attempts: str, cli: Call) -> None:
    assert cli("studio", "--max-attempts", attempts).status == 2


def test_another_studio_on_the_same_folder_exits_75(home: Path, cli: Call) -> None:
    with hosting("--data", str(home / "farm")) as child:
        first_line(child)
        assert cli("studio", "--port", "0", "--data", str(home / "farm")).status == 75
