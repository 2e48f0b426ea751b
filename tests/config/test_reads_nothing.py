"""``Config(...)`` takes what it is given: neither the environment nor any file is looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os
import sys

from studio_worker import Config

Config(api_base_url=None, plugins={"warm": {"a": 1}})  # what is imported on first use is here from now on


class Untouched(dict):
    def __getattribute__(self, name):
        raise AssertionError(f"the environment was asked for {name}")

    __getitem__ = __contains__ = __iter__ = __getattribute__


seen = []
sys.addaudithook(lambda event, args: event.split(".")[0] in ("open", "os", "socket", "sqlite3") and seen.append(event))
before, os.environ = os.environ, Untouched()
config = Config(
    api_base_url="https://studio.example/", state_dir="~/nowhere", models_root="/none", plugins={"warm": {"a": 2}}
)
os.environ = before
assert not seen, seen
print(config.api_base_url, config.state_dir, config.vram_threshold_gb)
"""


def test_settings_from_arguments_read_no_file_and_no_variable(tmp_path, monkeypatch):
    file = tmp_path / "config" / "minis-studio-worker" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("vram_threshold_gb = 99.0\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STUDIO_WORKER_API_BASE_URL", "https://elsewhere.example/")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["https://studio.example/", "~/nowhere", "12.0"]
