"""The claim that `explain` is given: bare, in an offer, or as a line of a jobs file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.frames import MAX_FRAME_BYTES
from studio_worker.wire.strict_json import NotJson, loads

NO_ID = "job"
"""The id of a claim that has none, as a line of a jobs file may."""


def read_claim(path: Path) -> dict[str, Any]:
    """The claim of a file, its `jobId` made sure of. Raises click.UsageError."""
    name = "stdin" if str(path) == "-" else escape(str(path))
    try:
        raw = read_bytes(path)
        value = loads(raw)
    except NotJson as error:
        raise click.UsageError(f"--claim: {name} {error}") from None
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--claim: {name} cannot be read: {reason(error)}") from None
    if isinstance(value, dict) and isinstance(value.get("claim"), dict):
        value = value["claim"]
    if not isinstance(value, dict) or "task" not in value:
        raise click.UsageError(f"--claim: {name} holds no claim: an object with jobId, model, task and modelSource")
    job_id = value.get("jobId", value.get("id", NO_ID))
    if not isinstance(job_id, str):
        raise click.UsageError(f"--claim: {name}: jobId must be text")
    return {**value, "jobId": job_id}


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
