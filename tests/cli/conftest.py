from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from loguru import logger

from studio_worker.cli.app import run

from .terminals import read_all


@dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

    status: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any settings."""
    for name in list(os.environ):
        if name.startswith(("STUDIO_WORKER_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def config_file(home: Path) -> Path:
    path = home / ".config" / "minis-studio-worker" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """Runs a command line in this process, as the console script does but for the interpreter's end."""

    def call(*args: str) -> Outcome:
        capsys.readouterr()
        status = run(list(args))
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    yield call
    logger.remove()
    logger.disable("studio_worker")


@pytest.fixture
def program(home: Path) -> Callable[..., Outcome]:
    """Runs a command line in a process of its own."""

    def call(
        *args: str, environ: Mapping[str, str] | None = None, stdin: str = "", python: tuple[str, ...] = ()
    ) -> Outcome:
        done = subprocess.run(
            [sys.executable, *python, "-m", "studio_worker", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | dict(environ or {}),
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Installs a package with entry points into a folder; returns the environment that sees it."""

    def install(name: str, *, source: str, entry_points: str, version: str = "1.2.3") -> dict[str, str]:
        site = tmp_path / "site"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(entry_points)
        (site / f"{name.replace('-', '_')}.py").write_text(source)
        known = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": f"{site}{os.pathsep}{known}" if known else str(site)}

    return install


class Terminal:
    """A real terminal as stderr; what was written to it is read back."""

    def __init__(self) -> None:
        self._near, far = pty.openpty()
        self.stream = os.fdopen(far, "w")

    def __enter__(self) -> Self:
        self._before, sys.stderr = sys.stderr, self.stream
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr = self._before

    def text(self) -> str:
        """Everything so far; the stream is closed by that."""
        self.stream.close()
        return read_all(self._near)

    def words(self) -> str:
        """`text` without what moves the cursor and paints."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    yield terminal
    terminal.stream.close()
