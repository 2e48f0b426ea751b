"""Secrets that come by stdin, so that they stand in no command line."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .terminals import read_all

Call = Callable[..., Any]
CANARY = "hf_canary0123456789"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nanother line\n"])
def test_a_dash_takes_one_line_of_stdin(end: str, program: Call, config_file: Path) -> None:
    outcome = program("config", "set", "hf_token", "-", "--json", stdin=CANARY + end)

    assert (outcome.status, outcome.out) == (0, '"***"\n')
    assert config_file.read_text().endswith(f'hf_token = "{CANARY}"\n')
    assert CANARY not in outcome.err
    assert "command line" not in outcome.err


def test_a_dash_takes_a_plugins_key_as_toml_too(program: Call, config_file: Path) -> None:
    assert program("config", "set", "plugins.x.keys", "-", stdin='["a", "b"]\n').status == 0
    assert 'keys = ["a", "b"]' in config_file.read_text()


@pytest.mark.parametrize(
    ("stdin", "said"), [("", "there is none"), ("\n", "there is none"), ("x" * 1_048_577, "1,048,576 bytes")]
)
def test_no_usable_line_of_stdin_changes_nothing(stdin: str, said: str, program: Call, config_file: Path) -> None:
    config_file.write_text('hf_token = "kept"\n')
    outcome = program("config", "set", "hf_token", "-", stdin=stdin)

    assert outcome.status == 2
    assert said in outcome.err
    assert config_file.read_text() == 'hf_token = "kept"\n'


def test_a_line_that_is_no_utf_8_is_a_usage_error(config_file: Path) -> None:
    command = [sys.executable, "-m", "studio_worker", "config", "set", "hf_token", "-"]
    done = subprocess.run(command, input=b"\xff\n", capture_output=True, check=False, timeout=60)

    assert done.returncode == 2
    assert b"no UTF-8" in done.stderr


def test_a_terminal_is_asked_and_shows_nothing(config_file: Path) -> None:
    near, far = pty.openpty()
    command = [sys.executable, "-m", "studio_worker", "config", "set", "hf_token", "-"]
    # Without a terminal of its own session the one that is stdin is asked.
    process = subprocess.Popen(command, stdin=far, stderr=subprocess.PIPE, start_new_session=True)
    os.close(far)
    assert process.stderr is not None
    said = b""
    while not said.endswith(b": "):
        piece = process.stderr.read(1)
        assert piece, said
        said += piece
    os.write(near, f"{CANARY}\n".encode())
    said += process.stderr.read()

    assert process.wait(60) == 0, said
    process.stderr.close()
    assert said.startswith(b"hf_token: ")
    assert CANARY not in said.decode() + read_all(near)
    assert f'hf_token = "{CANARY}"' in config_file.read_text()


@pytest.mark.parametrize(
    ("key", "value"),
    [("hf_token", CANARY), ("plugins.x.api-key", CANARY), ("plugins.x.url", f"https://me:{CANARY}@h/")],
)
def test_a_secret_in_the_command_line_is_taken_with_a_word_about_it(
    key: str, value: str, cli: Call, config_file: Path
) -> None:
    outcome = cli("config", "set", key, value)

    assert outcome.status == 0
    assert value in config_file.read_text()
    (line,) = (line for line in outcome.err.splitlines() if "command line" in line)
    assert f"`studio-worker config set {key} -`" in line
    assert CANARY not in outcome.err


@pytest.mark.parametrize(("key", "value"), [("device", "cpu"), ("plugins.x.max_tokens", "5"), ("hf_token", "")])
def test_what_is_no_secret_is_set_without_a_word_about_it(key: str, value: str, cli: Call, config_file: Path) -> None:
    assert "command line" not in cli("config", "set", key, value).err
