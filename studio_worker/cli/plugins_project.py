"""A new plugin's project: the templates that lie beside this module, made into files of a folder that was empty."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from studio_worker.engines.description import SYNTHETIC
from studio_worker.engines.entry_points import canonical, list_plugins
from studio_worker.engines.known import DISTRIBUTIONS
from studio_worker.errors import StudioWorkerError
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.kinds import TaskKind

TEMPLATES = Path(__file__).with_name("plugin_template")
PREFIX = "studio-worker-"
MAX_NAME = 30

FILES: Mapping[str, str] = {
    "pyproject.toml.jinja": "pyproject.toml",
    "README.md.jinja": "README.md",
    "CHANGELOG.md.jinja": "CHANGELOG.md",
    "gitignore.jinja": ".gitignore",
    "ci.yml.jinja": ".github/workflows/ci.yml",
    "__init__.py.jinja": "src/{module}/__init__.py",
    "{kind}/engine.py.jinja": "src/{module}/engine.py",
    "{kind}/conformance.jsonl.jinja": "src/{module}/conformance.jsonl",
    "py.typed": "src/{module}/py.typed",
    "{kind}/test_engine.py.jinja": "tests/test_engine.py",
    "test_conformance.py.jinja": "tests/test_conformance.py",
}
"""Template to the file that it becomes."""

ASSETS: Mapping[TaskKind, str] = {TaskKind.AUDIO_STT: "sample.wav"}
"""What goes beside the samples of a kind as it is."""

SUMMARIES: Mapping[TaskKind, str] = {
    TaskKind.IMAGE: "Pictures of plasma",
    TaskKind.LLM: "Answers that are an echo in reverse",
    TaskKind.AUDIO_STT: "Notes of where a recording is silent",
    TaskKind.AUDIO_TTS: "Tones that follow a text",
    TaskKind.VIDEO: "Films of a disc that goes round",
}


class ProjectNotMade(StudioWorkerError):
    """A new project cannot be written."""


@dataclass(frozen=True, slots=True)
class Project:
    """A plugin that is to be made.

    Attributes:
        name: how its engine is called, ``plasma``.
        kind: what its engine makes.
        folder: where it goes.
    """

    name: str
    kind: TaskKind
    folder: Path

    @property
    def distribution(self) -> str:
        """The package's name."""
        return PREFIX + self.name

    @property
    def module(self) -> str:
        """What is imported."""
        return self.distribution.replace("-", "_")

    @property
    def engine_class(self) -> str:
        """The engine's class."""
        return "".join(part.capitalize() for part in self.name.split("-")) + "Engine"

    def write(self) -> tuple[Path, ...]:
        """Make the folder and its files; returns them, relative to the folder.

        Raises:
            ProjectNotMade: the folder holds something already, or the disk refuses.
        """
        shown = escape(str(self.folder), limit=300)
        try:
            if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
                raise ProjectNotMade(f"{shown} is there already and not empty: name another place by --folder")
            return tuple(sorted(self._written()))
        except OSError as error:
            raise ProjectNotMade(f"{shown} cannot be written: {reason(error)}") from None

    def _written(self) -> Iterator[Path]:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        # What comes out is code and prose, no page: there is nothing to escape, and the name is a checked word.
        templates = Environment(  # noqa: S701
            loader=FileSystemLoader(TEMPLATES),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            newline_sequence="\n",
        )
        words = {
            "name": self.name,
            "kind": self.kind.value,
            "distribution": self.distribution,
            "module": self.module,
            "engine_class": self.engine_class,
            "summary": SUMMARIES[self.kind],
        }
        for template, place in FILES.items():
            source = template.format(kind=self.kind.value)
            text = templates.get_template(source).render(words) if source.endswith(".jinja") else ""
            path = Path(place.format(module=self.module))
            self._put(path).write_text(text, encoding="utf-8", newline="\n")
            yield path
        if (asset := ASSETS.get(self.kind)) is not None:
            path = Path("src", self.module, asset)
            shutil.copyfile(TEMPLATES / self.kind.value / asset, self._put(path))
            yield path

    def _put(self, path: Path) -> Path:
        whole = self.folder / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        return whole


def read_new_name(text: str) -> str:
    """The short name of a new plugin, without the prefix that its package gets.

    Raises:
        click.BadParameter: it breaks a rule, or something is called so already.
    """
    shown = escape(text, limit=60)
    name = canonical(text).removeprefix(PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name, re.ASCII) or len(name) > MAX_NAME:
        raise click.BadParameter(
            f"{shown!r} is no name for a package: begin with a letter, go on with letters, digits and single hyphens, "
            f"{MAX_NAME} characters at most"
        )
    if name in (SYNTHETIC, "studio-worker"):
        raise click.BadParameter(f"{name!r} belongs to the worker itself: take another name")
    if name in DISTRIBUTIONS or PREFIX + name in DISTRIBUTIONS.values():
        raise click.BadParameter(f"{name!r} is an engine that the project publishes itself: take another name")
    for ref in list_plugins():
        if name == canonical(ref.name) or PREFIX + name == canonical(ref.distribution):
            raise click.BadParameter(
                f"{name!r} is installed here already ({ref.distribution} {ref.version}): take another name, or "
                f"`studio-worker plugins uninstall {ref.distribution}` first"
            )
    return name
