"""Faults of what is returned: of the wrong type, undecodable, of the wrong size, no JSON, too much progress."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias, Unpack

from studio_worker.engines.base import (
    AudioResult,
    Engine,
    EngineJob,
    ImageResult,
    LlmResult,
    Result,
    TranscriptResult,
    VideoResult,
)
from studio_worker.errors import EngineError
from studio_worker.testing.chaos.fault import Fault
from studio_worker.testing.chaos.options import check_word
from studio_worker.testing.chaos.turns import When

Malformation: TypeAlias = Literal[
    "type", "bytes", "empty", "size", "ext", "outside", "json", "shape", "meta", "progress"
]

FLOOD = 10_000
"""Calls of `progress` in a flood."""

_HEAD_BYTES = 16


def malformed(engine: Engine | None = None, how: Malformation = "type", **when: Unpack[When]) -> Fault:
    """An engine whose results cannot be used, or whose notes cannot be believed.

    Args:
        engine: what to spoil.
        how: of any job: ``type`` (a text in place of a result), ``meta`` (a note that is no JSON), ``progress`` (10,000
            calls, backwards). Of a picture, sound or film: ``bytes`` (the head of the true file, then noise),
            ``empty``, ``ext`` (``exe``), ``outside`` (a file outside the job's folder). Of a picture: ``size`` (one
            pixel more each way). Of a JSON result: ``json`` (NaN), ``shape`` (an empty object). A job of another
            kind fails and says so.
        **when: which jobs.
    """
    return _Malformed(engine, when, how=how)


class _Malformed(Fault):
    def __init__(self, engine: Engine | None, when: When, *, how: Malformation) -> None:
        super().__init__(engine, when)
        check_word("how", how, Malformation)
        self._how = how

    def before(self, job: EngineJob | None) -> None:
        if job is not None and self._how == "progress":
            for step in range(FLOOD, 0, -1):
                job.progress(step, FLOOD, stage="chaos", preview=b"no picture")

    def after(self, job: EngineJob, result: Any) -> Any:
        match self._how:
            case "type":
                return "chaos: no result"
            case "meta":
                job.meta["chaos"] = object()
                return result
            case "progress":
                return result
        spoil = _SPOILERS[self._how]
        spoiled = spoil(result)
        if spoiled is None:
            raise EngineError(
                f"chaos.malformed({self._how!r}) cannot spoil a result of kind {job.task.kind.value}", retryable=False
            )
        return spoiled


def _noise(result: Result) -> Result | None:
    if not isinstance(result, (ImageResult, AudioResult, VideoResult)):
        return None
    data = _bytes(result)
    return replace(result, data=data[:_HEAD_BYTES] + Random(len(data)).randbytes(len(data)))  # noqa: S311  noise


def _empty(result: Result) -> Result | None:
    return replace(result, data=b"") if isinstance(result, (ImageResult, AudioResult, VideoResult)) else None


def _ext(result: Result) -> Result | None:
    return replace(result, ext="exe") if isinstance(result, (ImageResult, AudioResult, VideoResult)) else None


def _outside(result: Result) -> Result | None:
    if not isinstance(result, (ImageResult, AudioResult, VideoResult)):
        return None
    return replace(result, data=Path(sys.executable))


def _size(result: Result) -> Result | None:
    if not isinstance(result, ImageResult):
        return None
    from PIL import Image

    with Image.open(io.BytesIO(_bytes(result))) as picture:
        out = io.BytesIO()
        larger = picture.resize((picture.width + 1, picture.height + 1))
        larger.save(out, picture.format)
    return replace(result, data=out.getvalue())


def _nan(result: Result) -> Result | None:
    return (
        None if isinstance(result, (ImageResult, AudioResult, VideoResult)) else type(result)({"chaos": float("nan")})
    )


def _shape(result: Result) -> Result | None:
    return type(result)({}) if isinstance(result, (LlmResult, TranscriptResult)) else None


def _bytes(result: ImageResult | AudioResult | VideoResult) -> bytes:
    return result.data.read_bytes() if isinstance(result.data, Path) else result.data


_SPOILERS: dict[str, Callable[[Result], Result | None]] = {
    "bytes": _noise,
    "empty": _empty,
    "ext": _ext,
    "outside": _outside,
    "size": _size,
    "json": _nan,
    "shape": _shape,
}
