"""pip, or uv where there is no pip, for the environment that this program runs in."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from studio_worker.cli.plugins_process import InstallFailed, run_installer
from studio_worker.cli.plugins_requirement import Requirement
from studio_worker.engines.entry_points import canonical
from studio_worker.text import escape
from studio_worker.wire.strict_json import NotJson, loads

OnLine = Callable[[str], None]

RAW_PROGRESS_SINCE = (24, 1)
"""The first pip that writes its progress for other programs."""


@dataclass(frozen=True, slots=True)
class Change:
    """A package that comes, changes or goes. `before` and `after` are versions, None where it is not there."""

    name: str
    before: str | None
    after: str | None

    def to_json(self) -> dict[str, Any]:
        """As commands print it."""
        return {"name": self.name, "from": self.before, "to": self.after}

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.name} {self.after}"
        return f"- {self.name} {self.before}" if self.after is None else f"~ {self.name} {self.before} → {self.after}"


class Installer(ABC):
    """Changes the packages of this environment.

    Attributes:
        name: how people call it.
    """

    name: str

    def __init__(self, command: Sequence[str]) -> None:
        self._command = [*command]

    @abstractmethod
    def plan(self, wanted: Sequence[Requirement], *, upgrade: bool, on_line: OnLine) -> tuple[Change, ...]:
        """What `install` would change, and nothing is changed. Raises InstallFailed."""

    @abstractmethod
    def install(self, wanted: Sequence[Requirement], *, upgrade: bool, on_line: OnLine) -> None:
        """Install. Raises InstallFailed."""

    @abstractmethod
    def uninstall(self, name: str, *, on_line: OnLine) -> None:
        """Uninstall a package. Raises InstallFailed."""

    def _run(self, arguments: Sequence[str], what: str, on_line: OnLine) -> None:
        try:
            run_installer([*self._command, *arguments], what, on_line)
        except InstallFailed as error:
            raise InstallFailed(f"{self.name} {error}") from None


class Pip(Installer):
    """The environment's own pip."""

    name = "pip"

    def __init__(self, version: str) -> None:
        super().__init__([sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input"])
        self._progress = ["--progress-bar", "raw"] if _pair(version) >= RAW_PROGRESS_SINCE else []

    def plan(self, wanted: Sequence[Requirement], *, upgrade: bool, on_line: OnLine) -> tuple[Change, ...]:
        """Out of pip's report of a dry run."""
        with tempfile.TemporaryDirectory(prefix="studio-worker-plan-") as folder:
            report = Path(folder) / "report.json"
            options = ["--dry-run", "--report", str(report), *self._options(upgrade)]
            self._run(["install", *options, "--", *_arguments(wanted)], f"plan to install {_shown(wanted)}", on_line)
            try:
                return tuple(_reported(loads(report.read_bytes())))
            except (OSError, NotJson, LookupError, TypeError) as error:
                raise InstallFailed(f"pip left no report that can be read ({escape(str(error), limit=100)})") from None

    def install(self, wanted: Sequence[Requirement], *, upgrade: bool, on_line: OnLine) -> None:
        """By ``pip install``."""
        arguments = ["install", *self._options(upgrade), "--", *_arguments(wanted)]
        self._run(arguments, f"install {_shown(wanted)}", on_line)

    def uninstall(self, name: str, *, on_line: OnLine) -> None:
        """By ``pip uninstall``."""
        self._run(["uninstall", "--yes", "--", name], f"uninstall {name}", on_line)

    def _options(self, upgrade: bool) -> list[str]:
        return [*self._progress, *(["--upgrade"] if upgrade else [])]


class Uv(Installer):
    """uv, told which environment is meant."""

    name = "uv"

    def plan(self, wanted: Sequence[Requirement], *, upgrade: bool, on_line: OnLine) -> tuple[Change, ...]:
        """Out of the lines of a dry run."""
        lines: list[str] = []

        def take(line: str) -> None:
            lines.append(line)
            on_line(line)

        arguments = self._install(wanted, ["--dry-run", *(["--upgrade"] if upgrade else [])])
        self._run(arguments, f"plan to install {_shown(wanted)}", take)
        return tuple(_changed(lines))

    def install(self, wanted: Sequence[Requirement], *, upgrade: bool, on_line: OnLine) -> None:
        """By ``uv pip install``."""
        arguments = self._install(wanted, ["--upgrade"] if upgrade else [])
        self._run(arguments, f"install {_shown(wanted)}", on_line)

    def uninstall(self, name: str, *, on_line: OnLine) -> None:
        """By ``uv pip uninstall``."""
        self._run(["pip", "uninstall", "--python", sys.executable, "--", name], f"uninstall {name}", on_line)

    @staticmethod
    def _install(wanted: Sequence[Requirement], options: Sequence[str]) -> list[str]:
        return ["pip", "install", "--python", sys.executable, *options, "--", *_arguments(wanted)]


def find_installer() -> Installer:
    """The installer of this environment.

    Raises:
        InstallFailed: there is none; the sentence names two remedies.
    """
    if find_spec("pip") is not None:
        return Pip(metadata.version("pip"))
    if find_spec("uv") is not None:
        return Uv([sys.executable, "-P", "-m", "uv"])
    if (found := shutil.which("uv")) is not None:
        return Uv([str(Path(found).absolute())])
    raise InstallFailed(
        f"there is neither pip in {sys.prefix} nor uv on the PATH: run `{sys.executable} -m ensurepip`, or install uv"
    )


def installed_version(name: str) -> str | None:
    """The version of a package that is installed, None where it is not."""
    try:
        return escape(metadata.version(name), limit=64)
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _reported(report: Any) -> Iterator[Change]:
    for item in report["install"]:
        about = item["metadata"]
        name = escape(str(about["name"]), limit=100)
        yield Change(name, installed_version(name), escape(str(about["version"]), limit=64))


def _changed(lines: Sequence[str]) -> Iterator[Change]:
    """What a dry run of uv marks: what comes with ``+``, what goes with ``-`` and what comes anew with ``~``."""
    after: dict[str, str] = {}
    for line in lines:
        found = re.fullmatch(r" ([+~]) ([A-Za-z0-9._-]+)(?:==(\S+)| @ (\S+)| \(.*)?.*", line)
        if found is not None:
            after[canonical(found[2])] = escape(found[3] or _version_in(found[4] or ""), limit=200)
    for name, version in after.items():
        yield Change(name, installed_version(name), version)


def _version_in(address: str) -> str:
    """The version that a wheel's file name has; the address itself for anything else."""
    name = address.rpartition("/")[2]
    return name.split("-")[1] if name.endswith(".whl") and name.count("-") >= 4 else address


def _pair(version: str) -> tuple[int, int]:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", version)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def _arguments(wanted: Sequence[Requirement]) -> list[str]:
    return [requirement.argument for requirement in wanted]


def _shown(wanted: Sequence[Requirement]) -> str:
    return escape(", ".join(requirement.shown for requirement in wanted), limit=300)
