"""The claim that `explain` is given: bare, in an offer, or as a line of a jobs file, which may have several."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.frames import MAX_FRAME_BYTES
from studio_worker.wire.strict_json import NotJson, loads

NO_ID = "job"
"""The id of a claim that has none, as a line of a jobs file may."""


def read_claim(path: Path, job_id: str | None = None) -> dict[str, Any]:
    """The claim of a file, its `jobId` made sure of, and nothing else: what else is wrong in it is what is explained.

    Args:
        path: of the file; ``-`` is stdin.
        job_id: which line of it, where it has several.

    Raises:
        click.UsageError: the file cannot be read, holds no claim, or holds several and none is named.
    """
    name = "stdin" if str(path) == "-" else escape(str(path))
    try:
        raw = read_bytes(path)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--claim: {name} cannot be read: {reason(error)}") from None
    _, value = one_job(list(_claims(raw, name)), job_id, option="--claim", name=name)
    found = value.get("jobId", value.get("id", NO_ID))
    if not isinstance(found, str):
        raise click.UsageError(f"--claim: {name}: jobId must be text")
    return {**value, "jobId": found}


def one_job(
    lines: Sequence[tuple[int, dict[str, Any]]], job_id: str | None, *, option: str, name: str
) -> tuple[int, dict[str, Any]]:
    """The one job that is asked for, with the number of its line.

    Args:
        lines: the jobs of a file, one at the least.
        job_id: which of them; None: there is only one.
        option: that named the file.
        name: what messages call it.

    Raises:
        click.UsageError: there is none of that id, or there are several.
    """
    if job_id is not None:
        lines = [(number, job) for number, job in lines if job_id in (job.get("id"), job.get("jobId"))]
        if not lines:
            raise click.UsageError(f"--job-id: {name} has no job {job_id[:60]!r}")
    if len(lines) > 1:
        raise click.UsageError(f"{option}: {name} holds {len(lines)} jobs: name one by --job-id, or give one line")
    return lines[0]


def _claims(raw: bytes, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The claims of a file with the numbers of their lines: one over all lines, or one a line."""
    try:
        yield 1, _claim(loads(raw), name)
        return
    except NotJson as error:
        lines = [(number, line) for number, line in enumerate(raw.splitlines(), 1) if not line.isspace() and line]
        if len(lines) < 2 or not _is_json(lines[0][1]):
            raise click.UsageError(f"--claim: {name} {error}") from None
    for number, line in lines:
        place = f"{name}, line {number},"
        try:
            yield number, _claim(loads(line), place)
        except NotJson as error:
            raise click.UsageError(f"--claim: {place} is {error}") from None


def _claim(value: Any, place: str) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("claim"), dict):
        value = value["claim"]
    if not isinstance(value, dict) or "task" not in value:
        raise click.UsageError(f"--claim: {place} holds no claim: an object with jobId, model, task and modelSource")
    return value


def _is_json(line: bytes) -> bool:
    try:
        loads(line)
    except NotJson:
        return False
    return True


def read_bytes(path: Path) -> bytes:
    """A file of at most one offer's size; ``-`` is stdin.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger.
    """
    if str(path) == "-":
        return _bounded(sys.stdin.buffer)
    with path.open("rb") as file:
        return _bounded(file)


def _bounded(file: BinaryIO) -> bytes:
    raw = file.read(MAX_FRAME_BYTES + 1)
    if len(raw) > MAX_FRAME_BYTES:
        raise ValueError(f"it has more than {MAX_FRAME_BYTES:,} bytes, which no offer has")
    return raw
