"""Making an environment of an engine's own in the state folder, and removing it."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from studio_worker.engines.environments import FINISHED, interpreter_of
from studio_worker.engines.interpreter import Interpreter
from studio_worker.errors import PluginError
from studio_worker.private_file import make_private_folder, reason
from studio_worker.text import escape
from studio_worker.version import __version__

Run = Callable[[Sequence[str], dict[str, str]], None]
"""Runs a command with an environment to its end; raises whatever is wrong with it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """What is to be made; its commands can be shown without running them.

    Attributes:
        name: what the environment is called; engines of it are disabled by this name, for one.
        folder: where it will lie.
        requirements: what will be installed, the worker's own package first.
        commands: what will be run, in order.
    """

    name: str
    folder: Path
    requirements: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]


def plan_environment(
    root: Path,
    name: str,
    requirements: Sequence[str],
    *,
    worker: str | None = None,
    python: str = sys.executable,
    options: Sequence[str] = (),
) -> EnvironmentPlan:
    """How to make the environment `name` with `requirements` in it.

    Args:
        root: the folder of such environments, `Config.environments_path`.
        name: letters, digits and ``. _ -``, a letter or a digit first.
        requirements: what pip is to install, ``studio-worker-lama==1.2`` for one.
        worker: the requirement that brings studio-worker; by default the release that runs here.
        python: the interpreter that the environment is made from.
        options: more options of ``pip install``.

    Raises:
        PluginError: the name cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(f"an environment cannot be called {name[:80]!r}: letters, digits and . _ - are allowed")
    folder = root / name
    everything = (worker or own_requirement(), *requirements)
    venv: tuple[str, ...] = (python, "-I", "-m", "venv", "--clear", str(folder))
    # As `interpreter_of` finds it once the folder is there.
    inside = str(folder / interpreter_of(Path(sys.prefix)).relative_to(sys.prefix))
    pip: tuple[str, ...]
    if find_spec("pip") is not None:
        # The worker's own pip installs there as well; a copy of it for each environment takes seconds to make.
        venv, pip = (*venv, "--without-pip"), (sys.executable, "-I", "-m", "pip", "--python", inside)
    else:
        pip = (inside, "-I", "-m", "pip")
    install = (*pip, "install", "--disable-pip-version-check", "--no-input", *options, "--", *everything)
    return EnvironmentPlan(name, folder, everything, (venv, install))


def make_environment(plan: EnvironmentPlan, run: Run) -> Path:
    """Make it; blocks for as long as pip takes. It counts for workers from its last step on, and not before.

    Args:
        plan: what to make.
        run: runs each command; after its error nothing of the environment is left.

    Returns:
        its folder.

    Raises:
        PluginError: there is one of this name already, or it is being made or removed, or its folder cannot be used.
    """
    try:
        make_private_folder(plan.folder.parent)
    except OSError as error:
        raise PluginError(f"the environment {plan.name!r} could not be made: {reason(error)}") from None
    with _alone(plan.folder):
        return _made(plan, run)


def _made(plan: EnvironmentPlan, run: Run) -> Path:
    mark = plan.folder / FINISHED
    if mark.exists():
        raise PluginError(
            f"there is an environment {plan.name!r} already, in {escape(str(plan.folder))}: remove it first"
        )
    variables = Interpreter(str(interpreter_of(plan.folder))).environment()
    try:
        for command in plan.commands:
            run(command, variables)
        mark.write_text(json.dumps({"name": plan.name, "requirements": plan.requirements}), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(plan.folder, ignore_errors=True)
        raise PluginError(f"the environment {plan.name!r} could not be made: {reason(error)}") from None
    except BaseException:
        shutil.rmtree(plan.folder, ignore_errors=True)
        raise
    return plan.folder


def remove_environment(root: Path, name: str) -> bool:
    """Remove one that was made here; whether there was one. Engines that run from it lose what they have not imported.

    Raises:
        PluginError: it cannot be removed, or is being made or removed.
    """
    folder = root / name
    if not _NAME.fullmatch(name) or not (folder / FINISHED).is_file():
        return False
    with _alone(folder):
        try:
            # Without its mark it counts no more, however far the removal comes.
            (folder / FINISHED).unlink()
            shutil.rmtree(folder)
        except OSError as error:
            raise PluginError(f"the environment {name!r} cannot be removed: {reason(error)}") from None
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep everybody else from making or removing the environment in `folder`; raises PluginError where one does."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise PluginError(
            f"the environment {folder.name!r} is being made or removed by another process: wait for it to end"
        ) from None
    except OSError as error:
        raise PluginError(f"the environment {folder.name!r} cannot be locked: {reason(error)}") from None
    try:
        yield
    finally:
        lock.release()


def own_requirement() -> str:
    """What installs the studio-worker that runs here: its release, or the folder that it was installed from."""
    try:
        origin = json.loads(metadata.distribution("studio-worker").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        origin = {}
    url = origin.get("url") if isinstance(origin, dict) else None
    if isinstance(url, str) and url.startswith("file:"):
        return f"studio-worker @ {url}"
    return f"studio-worker=={__version__}"
