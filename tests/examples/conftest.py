"""A third party's machine: a fresh environment with nothing in it but wheels of the core and of the example plugins."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
NOT_HERE = ("llama", "onnx", "piper", "sdcpp", "whisper")
PLUGINS = sorted((ROOT / "docs" / "examples" / "plugins").iterdir())


class Environment:
    """A virtual environment and a home of its own to call `studio-worker` in."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.config = home / "config.toml"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
            "TALLY_FILE": str(home / "tally.jsonl"),
            "STUDIO_WORKER_CONFIG": str(self.config),
            "STUDIO_WORKER_MODELS_ROOT": str(home / "models"),
        }

    def configure(self, text: str) -> None:
        self.config.touch(mode=0o600)
        self.config.write_text(text)

    def call(self, *words: str | Path, code: int = 0) -> str:
        """What the command prints."""
        command = [self.folder / "bin" / "studio-worker", *words]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=100)
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str | Path) -> Any:
        return json.loads(self.call(*words, "--json"))

    def engine(self, name: str) -> dict[str, Any]:
        return next(engine for engine in self.json("engines", "list") if engine["name"] == name)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment, made once for all test processes of this run."""
    here = tmp_path_factory.getbasetemp()
    shared = here.parent if os.environ.get("PYTEST_XDIST_WORKER") else here
    folder = shared / "third-party"
    with FileLock(shared / "third-party.lock"):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels", ROOT, *PLUGINS)
            _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
            _pip("--python", folder / "venv", "install", *(folder / "wheels").iterdir())
            (folder / "ready").touch()
    return folder / "venv"


@pytest.fixture
def environment(installed: Path, tmp_path: Path) -> Environment:
    return Environment(installed, tmp_path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
    return port


def _pip(*words: str | Path) -> None:
    _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words)


def _run(*command: str | Path) -> None:
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environ = {name: value for name, value in os.environ.items() if name not in own}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
