"""What an engine returned, checked before anybody believes it."""

from __future__ import annotations

import inspect
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studio_worker.engines.base import (
    RESULT_TYPES,
    AudioResult,
    ImageResult,
    LlmResult,
    Result,
    TranscriptResult,
    VideoResult,
)
from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.text import escape
from studio_worker.wire.base import free_object
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import MEDIA_TYPES

MAX_RESULT_BYTES = 2 * 1024**3
"""The largest result that is taken from an engine."""

_FAMILIES: dict[type[Result], tuple[str, ...]] = {
    ImageResult: ("image/",),
    AudioResult: ("audio/",),
    VideoResult: ("video/", "image/webp", "image/gif"),
}


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """A checked result, and the JSON values that go into `generationMeta`."""

    result: Result
    meta: dict[str, Any]


def check_output(engine: str, kind: TaskKind, result: object, meta: object, work_dir: Path) -> EngineOutput:
    """`result` and `meta` as they may travel on; reads no file, but looks at the one that is named.

    Args:
        engine: the engine's name, for the sentence.
        kind: what was asked for.
        result: what `run` returned.
        meta: the job's `meta`; what JSON cannot carry is left out with a warning.
        work_dir: the only folder that a result file may lie in.

    Raises:
        EngineError: retryable; says what the engine returned and what is needed.
    """
    needed = RESULT_TYPES[kind]
    if not isinstance(result, needed):
        if inspect.iscoroutine(result):
            result.close()
        raise EngineError(f"engine '{engine}' returned {_named(result)}, {_a(needed.__name__)} is needed")
    checked: Result
    if isinstance(result, (LlmResult, TranscriptResult)):
        checked = type(result)(_json(engine, result.json))
    else:
        checked = _binary(engine, result, work_dir)
    return EngineOutput(checked, _meta(engine, meta))


def _json(engine: str, value: object) -> dict[str, Any]:
    try:
        return free_object(value)
    except (ValueError, RecursionError) as error:
        why = "loops" if isinstance(error, RecursionError) else escape(str(error), limit=200)
        raise EngineError(f"engine '{engine}' returned JSON that cannot be sent: it {why}") from None


def _binary(
    engine: str, result: ImageResult | AudioResult | VideoResult, work_dir: Path
) -> ImageResult | AudioResult | VideoResult:
    known = [ext for ext, media_type in MEDIA_TYPES.items() if media_type.startswith(_FAMILIES[type(result)])]
    if result.ext not in known:
        raise EngineError(
            f"engine '{engine}' returned {_a(type(result).__name__)} with ext {escape(repr(result.ext), limit=40)}; "
            f"known are {', '.join(known)}"
        )
    if isinstance(result.data, bytes):
        size = len(result.data)
    elif isinstance(result.data, Path):
        path = _inside(engine, result.data, work_dir)
        result, size = replace(result, data=path), _size(engine, path)
    else:
        raise EngineError(f"engine '{engine}' returned {_named(result.data)} as data, bytes or a Path is needed")
    if not 0 < size <= MAX_RESULT_BYTES:
        raise EngineError(
            f"engine '{engine}' returned {size:,} bytes; a result has at least one and at most {MAX_RESULT_BYTES:,}"
        )
    return result


def _inside(engine: str, path: Path, work_dir: Path) -> Path:
    try:
        real = path.resolve(strict=True)
        if real.is_relative_to(work_dir.resolve()):
            return real
    except (OSError, RuntimeError) as error:
        # A loop of links is a RuntimeError up to Python 3.12; a studio need not know where the work_dir is.
        why = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        name = escape(path.name, limit=200)
        raise EngineError(f"engine '{engine}' returned a file that cannot be found: {name}: {why}") from None
    raise EngineError(f"engine '{engine}' returned a file outside the job's work_dir")


def _size(engine: str, path: Path) -> int:
    entry = path.stat()
    if not stat.S_ISREG(entry.st_mode):
        raise EngineError(f"engine '{engine}' returned a path that is no regular file")
    return entry.st_size


def _meta(engine: str, meta: object) -> dict[str, Any]:
    if meta == {}:
        return {}
    try:
        return free_object(meta)
    except (ValueError, RecursionError):
        logger.bind(event="engine.meta", engine=engine).warning(
            "An engine's meta is not JSON and is left out of generationMeta"
        )
        return {}


def _named(value: object) -> str:
    return "None" if value is None else escape(type(value).__name__, limit=80)


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'AIL' else 'a'} {name}"
