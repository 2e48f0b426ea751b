"""Whose environment this program runs in, and what follows for those who want to change it."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from studio_worker.cli.plugins_process import InstallFailed

MARK = "EXTERNALLY-MANAGED"
"""The file by which a system's package manager claims a Python as its own (PEP 668)."""

OVERRIDES = ("PIP_BREAK_SYSTEM_PACKAGES", "UV_BREAK_SYSTEM_PACKAGES")
"""By which a user says that it may be changed all the same."""


def check_changeable(environ: Mapping[str, str] = os.environ) -> None:
    """Pass where packages may be installed.

    Raises:
        InstallFailed: this Python is the system's own.
    """
    is_own = sys.prefix != sys.base_prefix
    if is_own or any(environ.get(name, "0").lower() in ("1", "true", "yes", "on") for name in OVERRIDES):
        return
    if (Path(sysconfig.get_path("stdlib")) / MARK).is_file():
        raise InstallFailed(
            f"the Python of {sys.prefix} belongs to the system's package manager, which allows no other packages in "
            "it: give the worker an environment of its own, by `python3 -m venv ~/studio-worker` and "
            "`~/studio-worker/bin/pip install studio-worker`, or by `pipx install studio-worker`"
        )


def keeper_note() -> str:
    """A sentence where another program made this environment and may make it anew without the plugin; else empty."""
    if (Path(sys.prefix) / "pipx_metadata.json").is_file():
        return "pipx made this environment: `pipx inject studio-worker NAME` keeps a plugin when pipx makes it anew"
    if (Path(sys.prefix) / "uv-receipt.toml").is_file():
        return (
            "uv made this environment as a tool: `uv tool install studio-worker --with NAME` keeps a plugin when uv "
            "makes it anew"
        )
    return ""
