"""Samples: jobs that an engine says it can do, so that the kit has something to run.

A plugin ships them inside its package as ``conformance.jsonl``: a line a sample, `model`, `task` and `modelSource` as
in a jobs file, and beside them `files` (role to paths of the model's files), `inputs` (role to path) and `seed`. An
input may be a ``data:`` URL of the task, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio_worker.errors import BadClaim, StudioWorkerError
from studio_worker.fetch.data_urls import is_data_url
from studio_worker.jobs.plan import wanted_inputs
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.strict_json import NotJson, loads

if TYPE_CHECKING:
    from studio_worker.engines.entry_points import PluginRef
    from studio_worker.wire.kinds import TaskKind
    from studio_worker.wire.model_source import ModelSource
    from studio_worker.wire.tasks import Task

FILE_NAME = "conformance.jsonl"
"""What a plugin's file of samples is called."""

FIELDS = ("model", "task", "modelSource", "files", "inputs", "seed")
"""What a line may hold."""


class BadSamples(StudioWorkerError):
    """A file of samples cannot be used; the sentence names file, line and field."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One job that the engine can do.

    Attributes:
        task: what to make.
        model: the model id.
        source: the engine and its model files as a claim names them; None for the engine's first source id.
        files: the model's files where they lie, role to paths; nothing is ever downloaded.
        inputs: input files by role: ``image``, ``mask``, ``ref_image``, ``audio``.
        seed: the job's seed; 1 where the task has none either.
    """

    task: Task
    model: str
    source: ModelSource | None = None
    files: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    seed: int | None = None

    @property
    def kind(self) -> TaskKind:
        """What it makes."""
        return self.task.kind

    @property
    def missing(self) -> tuple[str, ...]:
        """The files that a run needs and that are not there; of an input that lies nowhere, the task's field."""
        there = [*self.inputs.values(), *(path for paths in self.files.values() for path in paths)]
        lost = [str(path) for path in there if not path.is_file()]
        if self.source is not None and not self.files:
            lost += [file.filename for file in self.source.files]
        lost += [
            item.field
            for item in wanted_inputs(self.task)
            if item.role not in self.inputs and not is_data_url(item.url)
        ]
        return tuple(lost)


def read_samples(path: Path) -> tuple[Sample, ...]:
    """The samples of a file; relative paths in it are beside it.

    Raises:
        BadSamples: the file cannot be read, or a line is no sample.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise BadSamples(f"the samples {path} cannot be read: {why}") from None
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                found.append(_sample(loads(line), path.parent))
            except (NotJson, BadClaim, ValueError) as problem:
                raise BadSamples(f"{path}, line {number}: {escape(str(problem), limit=500)}") from None
    return tuple(found)


def listed(samples: object) -> tuple[Sample, ...]:
    """Samples as somebody gave them.

    Raises:
        TypeError: they are no list of samples; says what is needed.
    """
    if isinstance(samples, Sample):
        raise TypeError("samples is one Sample; a list of them is needed: [Sample(…)]")
    if isinstance(samples, (str, bytes, Mapping)) or not isinstance(samples, Iterable):
        raise TypeError(
            f"samples is of type {type(samples).__name__}; a list of Sample is needed (read_samples reads a file)"
        )
    found = tuple(samples)
    for each in found:
        if not isinstance(each, Sample):
            raise TypeError(
                f"samples holds a value of type {type(each).__name__}; a Sample is needed: Sample(task=…, model=…)"
            )
    return found


def shipped_samples(ref: PluginRef) -> Path | None:
    """The ``conformance.jsonl`` that a plugin's package brings; found in its list of files, nothing is imported.

    Args:
        ref: the plugin. Where its distribution brings several, the one in the entry point's own package counts.
    """
    package = ref.value.partition(":")[0].partition(".")[0]
    found = metadata.distributions(name=ref.distribution, path=list(ref.path) or sys.path)
    distribution = next(iter(found), None)
    if distribution is None:
        return None
    listed = [file for file in distribution.files or () if file.name == FILE_NAME]
    own = [file for file in listed if package in file.parts]
    for file in own or listed:
        path = Path(str(file.locate()))
        if path.is_file():
            return path
    return _in_editable_folder(distribution, ref)


def _in_editable_folder(distribution: metadata.Distribution, ref: PluginRef) -> Path | None:
    """The same of a package that is installed as a link to its folder, and lists no files of its own."""
    package = ref.value.partition(":")[0].replace(".", "/")
    for line in _links(distribution):
        for folder in (Path(line) / package, (Path(line) / package).parent):
            if (folder / FILE_NAME).is_file():
                return folder / FILE_NAME
    return None


def _links(distribution: metadata.Distribution) -> list[str]:
    """The folders that the distribution's ``.pth`` files put on the import path."""
    found: list[str] = []
    for file in distribution.files or ():
        if file.suffix == ".pth":
            try:
                lines = Path(str(file.locate())).read_text("utf-8").splitlines()
            except (OSError, UnicodeDecodeError):
                continue
            found += [line for line in lines if line and not line.startswith(("import ", "import\t", "#"))]
    return found


def _sample(raw: Any, folder: Path) -> Sample:
    from studio_worker.wire.model_source import parse_model_source
    from studio_worker.wire.tasks import parse_task

    if not isinstance(raw, dict):
        raise ValueError("is no JSON object")
    if unknown := [name for name in raw if name not in (*FIELDS, "id", "vramGbEstimate")]:
        raise ValueError(f"{unknown[0]}: unknown; a sample has {', '.join(FIELDS)}")
    model, seed = raw.get("model"), raw.get("seed")
    if not isinstance(model, str) or not model:
        raise ValueError("model: is required")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise ValueError("seed: must be a whole number from 0")
    source = raw.get("modelSource")
    return Sample(
        task=parse_task(raw.get("task")),
        model=model,
        source=None if source is None else parse_model_source(source),
        files=files_of(raw, folder),
        inputs=inputs_of(raw, folder),
        seed=seed,
    )


def files_of(raw: Mapping[str, Any], folder: Path) -> dict[str, list[Path]]:
    """A sample's model files by role; relative paths are below `folder`. Raises ValueError."""
    return _paths(raw.get("files"), folder, "files")


def inputs_of(raw: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """A sample's inputs by role, one file each; relative paths are below `folder`. Raises ValueError."""
    found = {}
    for role, paths in _paths(raw.get("inputs"), folder, "inputs").items():
        if len(paths) != 1:
            raise ValueError(f"inputs.{role}: an input is one file")
        found[role] = paths[0]
    return found


def _paths(raw: Any, folder: Path, field: str) -> dict[str, list[Path]]:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ValueError(f"{field}: must be an object, role to path")
    found = {}
    for role, paths in raw.items():
        listed = [paths] if isinstance(paths, str) else paths
        if not isinstance(listed, list) or not listed or not all(isinstance(path, str) and path for path in listed):
            raise ValueError(f"{field}.{role}: must be a path, or a list of paths")
        found[role] = [folder / path for path in listed]
    return found
