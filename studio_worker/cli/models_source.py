"""What `models pull` is asked for: a model source, jobs that carry one, or one file by its URL."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from studio_worker.errors import BadClaim, StudioWorkerError
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.model_source import ModelFile, ModelSource, parse_model_source
from studio_worker.wire.strict_json import NotJson, loads

MAX_BYTES = 268_435_456
"""The longest file of sources or jobs; a job may carry its inputs."""

NO_ENGINE = "pull"
"""The source id of a file that is pulled for no engine in particular."""


class BadSource(StudioWorkerError):
    """What was given names no model files."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """One file to have: the model that it belongs to, and the file as a source names it."""

    model: str
    file: ModelFile


def read_sources(path: Path, model: str | None) -> list[Asked]:
    """The files that a file of JSON asks for: one model source, one job, or a job a line; ``-`` is stdin.

    Args:
        path: the file.
        model: the id of the model where the JSON has none; None: the stem of its first file's name.

    Raises:
        BadSource: it cannot be read, or holds no model source; names the line and the field.
    """
    name = "stdin" if str(path) == "-" else str(path)
    raw = _read(path, name)
    asked: dict[tuple[str, str, str, str | None], Asked] = {}
    for where, found in _objects(raw, name):
        for one in _asked(found, where, model):
            asked.setdefault((one.model, one.file.filename, one.file.url, one.file.sha256), one)
    return list(asked.values())


def source_of(url: str, *, role: str, filename: str | None, sha256: str | None, model: str | None) -> Asked:
    """The file at a URL.

    Raises:
        BadClaim: names the field: `role`, `url`, `filename` or `sha256`.
    """
    try:
        name = filename or unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError as error:
        raise BadClaim("url", f"is no URL: {error}") from None
    fields = {"role": role, "url": url, "filename": name} | ({"sha256": sha256} if sha256 else {})
    try:
        source = parse_model_source({"engine": NO_ENGINE, "files": [fields]})
    except BadClaim as error:
        raise BadClaim(error.field.rpartition(".")[2], error.problem) from None
    return _files(source, model)[0]


def _read(path: Path, name: str) -> bytes:
    try:
        if str(path) == "-":
            return _bounded(sys.stdin.buffer, name)
        with path.open("rb") as file:
            return _bounded(file, name)
    except (OSError, ValueError) as error:
        raise BadSource(f"{escape(name)} cannot be read: {reason(error)}") from None


def _bounded(file: BinaryIO, name: str) -> bytes:
    raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise BadSource(f"{escape(name)} has more than {MAX_BYTES:,} bytes, which no list of models has")
    return raw


def _objects(raw: bytes, name: str) -> Iterator[tuple[str, Any]]:
    """The whole as one value, else a value a line; each with the words that say where it stands."""
    try:
        yield escape(name), loads(raw)
    except NotJson as whole:
        lines = [(at, line) for at, line in enumerate(raw.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise BadSource(f"{escape(name)} is no JSON ({whole}): give a modelSource, or a job a line") from None
    else:
        return
    for at, line in lines:
        where = f"{escape(name)}, line {at}"
        try:
            yield where, loads(line)
        except NotJson as error:
            raise BadSource(f"{where}: {error}") from None


def _asked(found: Any, where: str, model: str | None) -> list[Asked]:
    if not isinstance(found, Mapping):
        raise BadSource(f"{where} is no JSON object: give a modelSource, or a job that has one")
    named = found.get("model", model) if "modelSource" in found else model
    if named is not None and (not isinstance(named, str) or not named):
        raise BadSource(f"{where}: model must be the id of a model")
    if "modelSource" not in found and "engine" not in found:
        raise BadSource(f"{where} has neither engine and files, as a modelSource has, nor a modelSource")
    try:
        return _files(parse_model_source(found.get("modelSource", found)), named)
    except BadClaim as error:
        raise BadSource(f"{where}: {escape(str(error), limit=500)}") from None


def _files(source: ModelSource, model: str | None) -> list[Asked]:
    return [Asked(model or Path(source.files[0].filename).stem, file) for file in source.files]
