"""Environments of their own that engines run from: which there are, and what each holds, asked of its own interpreter.

So two plugins whose requirements exclude each other serve side by side. Nothing of such an environment is imported
here: its interpreter lists the plugins, a child of it describes each, and children of it run the jobs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from studio_worker.config import Config
from studio_worker.engines.asked_program import printed_by
from studio_worker.engines.entry_points import PluginRef
from studio_worker.engines.environment_probe import OLDEST
from studio_worker.engines.interpreter import Interpreter
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.version import CHILD_PROTOCOL, __version__

FINISHED = "studio-worker-environment.json"
"""The file in an environment that says that its making came to its end."""

TIMEOUT_SECS = 10.0
"""How long an interpreter may take to say what it holds."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024


class UnusableEnvironment(Exception):
    """No engine can run from an environment.

    Args:
        reason: why, as the end of a sentence that begins with the environment's name.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment that engines can run from.

    Attributes:
        name: what the operator calls it.
        python: its interpreter.
        version: the studio-worker that is installed there.
        plugins: the plugins there, but for the built-in one.
    """

    name: str
    python: str
    version: str
    plugins: tuple[PluginRef, ...]


def list_environments(config: Config) -> dict[str, Path]:
    """Where the environments lie, by name: those made here, then those of the settings. Blocks."""
    named = {name: config.places.expand(path).absolute() for name, path in config.engine_environments.items()}
    return made_environments(config.environments_path) | named


def made_environments(root: Path) -> dict[str, Path]:
    """Those that were made in the folder of such environments and came to their end, by name. Blocks."""
    return {mark.parent.name: mark.parent for mark in sorted(root.glob(f"*/{FINISHED}"))}


def interpreter_of(path: Path) -> Path:
    """The interpreter of a virtual environment's folder; a path that is no folder is the interpreter itself."""
    if not path.is_dir():
        return path
    return path / "Scripts" / "python.exe" if sys.platform == "win32" else path / "bin" / "python"


def install_command(python: str) -> str:
    """The command that brings the worker's own release into an environment."""
    return f"pip --python {python} install studio-worker=={__version__}"


async def look_into(name: str, path: Path, *, timeout_secs: float = TIMEOUT_SECS) -> Environment:
    """What an environment holds; its interpreter has ended when this returns.

    Raises:
        UnusableEnvironment: it is not there, cannot be started, is too old, or has no studio-worker of this protocol.
    """
    remedy = f"make it anew, or take {name!r} out of engine_environments"
    try:
        python = await asyncio.to_thread(_found, path, remedy)
    except OSError as error:
        why = f"{escape(str(path), limit=300)} cannot be looked at: {reason(error)}"
        raise UnusableEnvironment(why, remedy) from None
    said = await _asked(python, timeout_secs)
    version = _checked(said, python)
    entries = [str(entry) for entry in said["path"]]
    refs = {_ref(raw, name, python, tuple(entries)) for raw in said["plugins"]}
    plugins = sorted(
        (ref for ref in refs if not _is_the_workers_own(ref)), key=lambda ref: (ref.distribution, ref.name, ref.value)
    )
    return Environment(name, python, version, tuple(plugins))


def _is_the_workers_own(ref: PluginRef) -> bool:
    """Whether this package brings it, whatever an older or newer release calls its module."""
    return ref.distribution.replace("_", "-").lower() == "studio-worker"


def _found(path: Path, remedy: str) -> str:
    shown = escape(str(path))
    if not path.exists():
        raise UnusableEnvironment(f"there is no {shown}", remedy)
    python = interpreter_of(path)
    if not python.exists():
        raise UnusableEnvironment(f"{shown} is no virtual environment: it has no {python.relative_to(path)}", remedy)
    if not python.is_file() or not os.access(python, os.X_OK):
        raise UnusableEnvironment(f"{escape(str(python))} cannot be executed", f"chmod +x it, or {remedy}")
    return str(python)


async def _asked(python: str, timeout_secs: float) -> dict[str, Any]:
    """The probe's answer, as far as its shape goes."""
    script = await asyncio.to_thread(_script)
    interpreter = Interpreter(python)
    remedy = f"see what `{python} -I -c 1` says"
    try:
        answer, status = await printed_by(
            (*interpreter.command, "-c", script),
            interpreter.environment(),
            timeout_secs=timeout_secs,
            max_bytes=MAX_ANSWER_BYTES,
        )
    except TimeoutError:
        raise UnusableEnvironment(f"its interpreter gave no answer within {timeout_secs:g} s", remedy) from None
    except OSError as error:
        raise UnusableEnvironment(f"its interpreter cannot be started: {error.strerror or error}", remedy) from None
    try:
        said = json.loads(answer.splitlines()[-1])
        # Without a path, its packages would be looked for where the worker's own are.
        if isinstance(said, dict) and _is_version(said["python"]) and isinstance(said["path"], list) and said["path"]:
            return said
    except (IndexError, KeyError, ValueError, RecursionError):
        pass
    ending = "" if status is None else f" (exit status {status})"
    raise UnusableEnvironment(f"its interpreter gave no answer that means anything{ending}", remedy)


def _is_version(said: Any) -> bool:
    return isinstance(said, list) and all(isinstance(part, int) for part in said)


def _checked(said: Mapping[str, Any], python: str) -> str:
    """The version of studio-worker there, which speaks as this worker does."""
    found = ".".join(str(part) for part in said["python"])
    if tuple(said["python"][:2]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UnusableEnvironment(
            f"it has Python {found}, studio-worker needs {oldest}", f"make it anew with Python {oldest} or newer"
        )
    remedy = install_command(python)
    match said.get("worker"):
        case None:
            raise UnusableEnvironment("studio-worker is not installed in it", remedy)
        case {"version": str(version), "protocol": protocol}:
            if protocol == CHILD_PROTOCOL and isinstance(said.get("plugins"), list):
                return version
            spoken = f"version {protocol}" if protocol is not None else "none of the versions"
            raise UnusableEnvironment(
                f"its studio-worker {escape(version, limit=64)} speaks {spoken} of the engines' protocol, "
                f"this worker ({__version__}) version {CHILD_PROTOCOL}",
                remedy,
            )
        case problem:
            raise UnusableEnvironment(
                f"its studio-worker cannot be imported: {escape(str(problem), limit=300)}", remedy
            )


def _ref(raw: Any, name: str, python: str, path: tuple[str, ...]) -> PluginRef:
    words = raw if isinstance(raw, dict) else {}
    return PluginRef(
        name=str(words.get("name", "")),
        value=str(words.get("value", "")),
        distribution=escape(str(words.get("distribution", "unknown")), limit=200),
        version=escape(str(words.get("version", "unknown")), limit=64),
        environment=name,
        python=python,
        path=path,
    )


def _script() -> str:
    return resources.files("studio_worker.engines").joinpath("environment_probe.py").read_text(encoding="utf-8")
