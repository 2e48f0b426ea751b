"""Reading a jobs file (one JSON object a line), a line at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from studio_worker.cli.generate_fields import field_names, nearest
from studio_worker.errors import BadClaim, StudioWorkerError
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import ModelSource, parse_model_source
from studio_worker.wire.strict_json import NotJson, loads
from studio_worker.wire.tasks import TASK_TYPES, parse_task

JOB_FIELDS = ("id", "model", "task", "modelSource", "vramGbEstimate")
"""What a line of a jobs file may hold."""

MAX_LINE_BYTES = 16_777_216
"""The longest line: a task may carry its inputs as data URLs, and its offer is one frame of at most 16 MiB."""


class BadJobsFile(StudioWorkerError):
    """A jobs file, or one line of it, cannot be used."""

    exit_code = 2


def job_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The jobs of a file with their line numbers, checked one by one; blank lines are skipped, memory stays bounded.

    Args:
        file: read to its end.
        name: what messages call it.

    Raises:
        BadJobsFile: a line is no job, or there is none; names the line and its field.
    """
    number = found = 0
    while line := _line(file, name):
        number += 1
        if line.isspace():
            continue
        if len(line) > MAX_LINE_BYTES:
            raise bad_line(name, number, f"has more than {MAX_LINE_BYTES:,} bytes")
        found += 1
        yield number, _job(line, name, number)
    if not found:
        raise BadJobsFile(f"{escape(name)} holds no job: write one JSON object a line")


def ignored_fields(job: Mapping[str, Any]) -> list[str]:
    """A sentence for each field of a good job that nobody will read, by its wire name.

    The contract has a studio and its workers ignore what they do not know; a person who wrote it hears of it.
    """
    task = job["task"]
    parts: list[tuple[str, Mapping[str, Any], Sequence[str]]] = [
        ("", job, JOB_FIELDS),
        ("task.", task, ["kind", *field_names(TASK_TYPES[TaskKind(task["kind"])])]),
    ]
    if job.get("modelSource") is not None:
        parts.append(("modelSource.", job["modelSource"], field_names(ModelSource)))
    return [
        f"{prefix}{escape(name, limit=60)} means nothing here and is ignored{nearest(name, known)}"
        for prefix, given, known in parts
        for name in given
        if name not in known
    ]


def _line(file: BinaryIO, name: str) -> bytes:
    try:
        return file.readline(MAX_LINE_BYTES + 1)
    except OSError as error:
        raise BadJobsFile(f"{escape(name)} cannot be read: {reason(error)}") from None


def _job(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        job = loads(line)
    except NotJson as error:
        raise bad_line(name, number, str(error)) from None
    if not isinstance(job, dict):
        raise bad_line(name, number, "is no JSON object")
    if not isinstance(job.get("model"), str) or not job["model"]:
        raise bad_line(name, number, "model: is required")
    if job.get("task") is None:
        raise bad_line(name, number, "task: is required")
    try:
        parse_task(job["task"])
        # Without one the studio takes that of its model registry.
        if job.get("modelSource") is not None:
            parse_model_source(job["modelSource"])
    except BadClaim as error:
        raise bad_line(name, number, str(error)) from None
    return job


def bad_line(name: str, number: int, problem: str) -> BadJobsFile:
    """The error that names a line, from 1, and what is wrong with it."""
    return BadJobsFile(f"{escape(name)}, line {number}: {escape(problem, limit=500)}")
