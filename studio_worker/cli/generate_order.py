"""What `generate` is asked for: a line of a jobs file, options over it, both checked before anything starts."""

from __future__ import annotations

import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click

from studio_worker.cli.generate_fields import (
    KINDS,
    REMEDIES,
    everyday_fields,
    known_exts,
    nearest,
    split_pair,
    typed_fields,
)
from studio_worker.cli.jobs_file import BadJobsFile, job_lines
from studio_worker.errors import BadClaim
from studio_worker.jobs.local_inputs import INPUT_FIELDS, local_url
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import CliDefaults, ModelSource, parse_model_source
from studio_worker.wire.strict_json import NotJson, loads
from studio_worker.wire.tasks import TASK_TYPES, Task, parse_task

MAX_JSON_FILE_BYTES = 16 * 1024 * 1024
URL_STARTS = ("https://", "http://", "data:")
RESULT_OF_A_JOB = "result:"
"""What an input's URL begins with where a jobs file names the result of another job of the same studio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line, as click has read it.

    Attributes:
        kind: KIND, None where it was left out.
        job: the file of `--job`, ``-`` for stdin.
        job_id: which of its lines.
        model: the model id.
        source: the file of `--source`.
        source_id: the engine's source id.
        defaults: `--default` pairs of the source's cliDefaults.
        files: `--file` pairs.
        everyday: everyday option to its value or None.
        fields: `--set` pairs.
        inputs: for each input the option that gives it, its role or field, and its path or URL.
        out: the path of `-o`.
    """

    kind: str | None = None
    job: Path | None = None
    job_id: str | None = None
    model: str | None = None
    source: Path | None = None
    source_id: str | None = None
    defaults: Sequence[str] = ()
    files: Sequence[str] = ()
    everyday: Mapping[str, Any] = field(default_factory=dict)
    fields: Sequence[str] = ()
    inputs: Sequence[tuple[str, str, str]] = ()
    out: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One local job, ready to be submitted; see `Worker.submit`."""

    task: Task
    model: str
    source: ModelSource | None
    inputs: Mapping[str, Path]
    files: Mapping[str, Sequence[Path]] | None
    seed: int | None = None

    @property
    def kind(self) -> TaskKind:
        """What it makes."""
        return self.task.kind


def read_order(asked: Asked) -> Order:
    """The order that a command line gives.

    Raises:
        click.UsageError: something is missing, misspelt or out of its range; the sentence says what to do.
        BadJobsFile: the line of `--job` cannot be used.
    """
    line = _line(asked)
    try:
        raw = dict(line.get("task") or {})
        kind = _kind(asked, raw)
        raw["kind"] = kind.value
        everyday = dict(asked.everyday)
        # Other kinds' tasks carry no seed, but their engines use one.
        seed = everyday.pop("seed", None) if kind is not TaskKind.IMAGE else None
        raw |= everyday_fields(kind, everyday)
        raw |= typed_fields("--set", asked.fields, TASK_TYPES[kind], f"kind {kind.value}")
        inputs = _inputs(kind, asked.inputs, raw)
        if asked.out is not None and "ext" not in raw and (ext := asked.out.suffix[1:].lower()) in known_exts(kind):
            raw["ext"] = ext
        task = parse_task(raw)
        source = _source(asked, line)
    except BadClaim as error:
        remedy = REMEDIES.get(error.field) if error.problem == "is required" else None
        raise click.UsageError(f"give {remedy}: {error}" if remedy else str(error)) from None
    files = _files(asked.files)
    if files is not None and source is None:
        raise click.UsageError("--file needs the engine that is to load it: give --source-id ID")
    model = _model(asked, line, source, files)
    return Order(task=task, model=model, source=source, inputs=inputs, files=files, seed=seed)


def read_json(option: str, path: Path) -> Any:
    """The JSON value of a file. Raises click.UsageError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_FILE_BYTES + 1)
        if len(data) > MAX_JSON_FILE_BYTES:
            raise click.UsageError(f"{option}: {path} has more than {MAX_JSON_FILE_BYTES:,} bytes")
        return loads(data)
    except NotJson as error:
        raise click.UsageError(f"{option}: {path} {error}") from None
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{option}: {path} cannot be read: {reason(error)}") from None


def _line(asked: Asked) -> dict[str, Any]:
    """The one line of `--job`; an empty one without it."""
    if asked.job is None:
        if asked.job_id is not None:
            raise click.UsageError("--job-id names a line of a jobs file: give --job FILE")
        return {}
    name = "stdin" if str(asked.job) == "-" else str(asked.job)
    try:
        if str(asked.job) == "-":
            lines = list(job_lines(sys.stdin.buffer, name))
        else:
            with asked.job.open("rb") as file:
                lines = list(job_lines(file, name))
    except (OSError, ValueError) as error:
        raise BadJobsFile(f"{escape(name)} cannot be read: {reason(error)}") from None
    if asked.job_id is not None:
        lines = [(number, job) for number, job in lines if job.get("id") == asked.job_id]
        if not lines:
            raise click.UsageError(f"--job-id: {name} has no job {escape(asked.job_id, limit=60)!r}")
    if len(lines) > 1:
        raise click.UsageError(f"--job: {name} holds {len(lines)} jobs: name one by --job-id, or give one line")
    return lines[0][1]


def _kind(asked: Asked, raw: Mapping[str, Any]) -> TaskKind:
    named = raw.get("kind")
    if asked.kind is None:
        if named is None:
            raise click.UsageError(f"say what to make: KIND is one of {', '.join(KINDS)}")
        return TaskKind(named)
    kind = KINDS[asked.kind]
    if named is not None and named != kind:
        raise click.UsageError(f"the job of --job is of kind {named}, not {kind.value}")
    return kind


def _inputs(kind: TaskKind, given: Sequence[tuple[str, str, str]], raw: dict[str, Any]) -> dict[str, Path]:
    """The input files by role; what the task says of its inputs goes into `raw`."""
    fields = {role: str(TASK_TYPES[kind].model_fields[name].alias) for role, name in INPUT_FIELDS.get(kind, {}).items()}
    role_of = {**{role: role for role in fields}, **{name: role for role, name in fields.items()}}
    inputs: dict[str, Path] = {}
    for option, name, value in given:
        if name not in role_of:
            known = nearest(name, fields) if fields else ""
            raise click.UsageError(f"{option}: kind {kind.value} has no input {escape(name, limit=60)!r}{known}")
        role = role_of[name]
        if value.startswith(URL_STARTS):
            raw[fields[role]] = value
            continue
        inputs[role] = _file(option, value)
        raw[fields[role]] = local_url(role)
    for role, name in fields.items():
        if str(raw.get(name) or "").startswith(RESULT_OF_A_JOB):
            raise click.UsageError(
                f"task.{name} names the result of another job, which only a studio has: give --input {role}=PATH"
            )
    return inputs


def _source(asked: Asked, line: Mapping[str, Any]) -> ModelSource | None:
    if asked.source is not None and asked.source_id is not None:
        raise click.UsageError("give --source or --source-id, not both")
    raw: Any = line.get("modelSource")
    if asked.source is not None:
        raw = read_json("--source", asked.source)
    elif asked.source_id is not None:
        raw = {"engine": asked.source_id}
    if raw is None:
        if asked.defaults:
            raise click.UsageError("--default sets a default of a model source: give --source-id ID too")
        return None
    given = typed_fields("--default", asked.defaults, CliDefaults, "cliDefaults")
    if given and isinstance(raw, dict):
        before = raw.get("cliDefaults")
        raw = raw | {"cliDefaults": (before if isinstance(before, dict) else {}) | given}
    return parse_model_source(raw)


def _files(pairs: Sequence[str]) -> dict[str, list[Path]] | None:
    found: dict[str, list[Path]] = {}
    for pair in pairs:
        role, path = split_pair("--file", pair)
        found.setdefault(role, []).append(_file("--file", path))
    return found or None


def _model(
    asked: Asked, line: Mapping[str, Any], source: ModelSource | None, files: Mapping[str, Sequence[Path]] | None
) -> str:
    if model := asked.model or line.get("model"):
        return str(model)
    if source is None:
        raise click.UsageError(
            "say what runs it: --source-id ID with --file ROLE=PATH, --source FILE, or --model NAME; "
            "`studio-worker engines` lists what is here"
        )
    if files is not None:
        return next(iter(files.values()))[0].stem
    return Path(source.files[0].filename).stem if source.files else source.engine


def _file(option: str, text: str) -> Path:
    """A file that is there; what is wrong with one is better said before a model is loaded."""
    path = Path(text).expanduser()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            _refuse(option, path, "it is no regular file")
    except (OSError, ValueError) as error:
        _refuse(option, path, reason(error))
    return path


def _refuse(option: str, path: Path, why: str) -> NoReturn:
    raise click.UsageError(f"{option}: {escape(str(path), limit=300)} cannot be used: {why}")
