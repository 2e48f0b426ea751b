"""The look at a result before it is kept: what fails here is run again, and never uploaded."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from pydantic import ValidationError

from studio_worker.engines.base import LlmResult, Result, TranscriptResult
from studio_worker.errors import ResultRejected
from studio_worker.jobs.film_checks import check_film
from studio_worker.jobs.picture_checks import began_black, check_png, check_still
from studio_worker.jobs.png_chunks import HEAD_BYTES, plain_bytes
from studio_worker.jobs.results import Artifact
from studio_worker.jobs.sound_checks import check_wav
from studio_worker.wire.json_text import write
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import ChatCompletion, Transcript, media_type, sniff_ext
from studio_worker.wire.tasks import Task

MAX_JSON_BYTES = 8 * 1024 * 1024
"""Half of what a frame may carry: the prompt and JSON's escapes have to fit as well."""

QUICK_BYTES = 64 * 1024
"""What is looked at in about a tenth of a millisecond, a picture once unpacked."""

QUICK_STORED_BYTES = 2 * 1024 * 1024
"""Of a picture that was never packed there is nothing to inflate: a mebibyte takes half a millisecond at most."""

_PICTURES = frozenset({"png", "webp", "gif", "jpg"})
_EXTS = {
    TaskKind.IMAGE: _PICTURES,
    TaskKind.AUDIO_TTS: frozenset({"wav", "mp3", "ogg", "flac", "mp4", "webm"}),
    TaskKind.VIDEO: frozenset({"mp4", "webm", "webp", "gif"}),
}
_NO_INPUTS: Mapping[str, Path] = MappingProxyType({})


def inspect_json(kind: TaskKind, result: LlmResult | TranscriptResult, meta: Mapping[str, Any]) -> Artifact:
    """A JSON result, checked; cheap enough for the event loop.

    Args:
        kind: what was asked for.
        result: finite JSON, as the host hands it on.
        meta: the engine's own notes.

    Raises:
        ResultRejected: ``not-json``, ``too-large``, ``wrong-shape``.
    """
    try:
        text = write(result.json)
        size = len(text) if text.isascii() else len(text.encode())
    except (ValueError, TypeError, RecursionError):
        raise ResultRejected("not-json", "the result holds what JSON cannot carry") from None
    if size > MAX_JSON_BYTES:
        raise ResultRejected("too-large", f"the result is {size:,} bytes of JSON, at most {MAX_JSON_BYTES:,} can go")
    shape = ChatCompletion if kind is TaskKind.LLM else Transcript
    try:
        shape.model_validate(result.json)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise ResultRejected("wrong-shape", f"the result is no {shape.__name__}: {place}: {first['msg']}") from None
    return Artifact(kind=kind, size=size, json=result.json, json_text=text, meta=meta)


def inspect(task: Task, result: Result, meta: Mapping[str, Any], inputs: Mapping[str, Path] = _NO_INPUTS) -> Artifact:
    """A result of any kind, checked. Reads files and inflates pictures: for a thread.

    Its bytes decide what it is: a file that is called otherwise gets the name of what it is.

    Args:
        task: what was asked for, its defaults resolved.
        result: what the engine returned, of the type that the kind asks for.
        meta: the engine's own notes.
        inputs: the job's inputs by role: what was made from a black picture may be black.

    Raises:
        ResultRejected: ``empty``, ``unreadable``, ``does-not-decode``, ``wrong-kind``, ``black``, those of
            `inspect_json`, and those of the kind (`picture_checks`, `sound_checks`, `film_checks`).
    """
    kind = task.kind
    if isinstance(result, (LlmResult, TranscriptResult)):
        return inspect_json(kind, result, meta)
    try:
        size = result.data.stat().st_size if isinstance(result.data, Path) else len(result.data)
        with _opened(result.data) as file:
            ext = _ext(kind, file.read(64), result.ext)
            file.seek(0)
            is_black = _look(file, size, ext, task)
    except OSError as error:
        raise ResultRejected("unreadable", f"the result cannot be read: {error.strerror or error}") from None
    if is_black and not began_black(inputs):
        raise ResultRejected("black", "there is nothing to see: every pixel is black or transparent")
    return Artifact(kind=kind, size=size, ext=ext, data=result.data, meta=meta)


def is_quickly_inspected(result: Result, inputs: Mapping[str, Path] = _NO_INPUTS) -> bool:
    """Whether `inspect` takes less than the thread that would run it: bytes, few of them, and no decoder needed.

    Never with inputs: a result that turns out black has the picture that it was made from decoded, whatever its size.
    """
    data = getattr(result, "data", None)
    if inputs or not isinstance(data, bytes) or len(data) > QUICK_STORED_BYTES:
        return False
    match sniff_ext(data[:64]):
        case "wav":
            return len(data) <= QUICK_BYTES
        case "png":
            unpacked = plain_bytes(data[:HEAD_BYTES])
            return unpacked is not None and unpacked <= max(len(data), QUICK_BYTES)
        case _:
            return False


def _look(file: BinaryIO, size: int, ext: str, task: Task) -> bool:
    """Look at a file as its kind and format ask for; whether it is a picture, or a film, with nothing to see."""
    if task.kind is TaskKind.VIDEO:
        return check_film(file, size, ext, task)
    if ext == "png":
        return check_png(file, size, task)
    if task.kind is TaskKind.IMAGE:
        return check_still(file, ext, task)
    if ext == "wav":
        check_wav(file, size, task)
    return False


def _opened(data: bytes | Path) -> BinaryIO:
    return data.open("rb") if isinstance(data, Path) else io.BytesIO(data)


def _ext(kind: TaskKind, head: bytes, declared: str) -> str:
    if not head:
        raise ResultRejected("empty", "the result is empty")
    found = sniff_ext(head)
    if found is None:
        raise ResultRejected("does-not-decode", f"the result is called {declared} and is none of the known formats")
    if found not in _EXTS[kind]:
        raise ResultRejected("wrong-kind", f"the result of kind {kind.value} is a {found} file")
    # jpg and jpeg are one format with two names: the engine's own stands.
    return declared if media_type(declared) == media_type(found) else found
