"""One job on one engine, where the engine lives: in a thread of the worker, or in a child."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from studio_worker.engines.base import RESULT_TYPES, AudioChunk, Engine, EngineJob, TextDelta
from studio_worker.engines.failures import folders_of, job_error
from studio_worker.engines.job_watch import UNMEASURED
from studio_worker.engines.output import EngineOutput, check_output
from studio_worker.engines.warm import WarmModel
from studio_worker.errors import EngineError
from studio_worker.models.files import ModelFiles

ChunkCallback: TypeAlias = Callable[[TextDelta | AudioChunk], None]
"""Told of the pieces of a streamed result, in order."""


def streams(engine: Engine) -> bool:
    """Whether the engine has a `stream` of its own."""
    return type(engine).stream is not Engine.stream or "stream" in vars(engine)


def do_job(
    name: str,
    engine: Callable[[], tuple[Engine, WarmModel | None]],
    job: EngineJob,
    model: ModelFiles,
    on_chunk: ChunkCallback | None,
) -> EngineOutput:
    """Load what is needed, run the job, check what came back. For a thread.

    Args:
        name: the engine's name, for sentences.
        engine: the engine and what it keeps loaded; may build it, and raise what a plugin raises.
        job: what to do.
        model: what to load.
        on_chunk: takes pieces where the engine can stream; None for the result alone.

    Raises:
        JobError: whatever the engine raised. Nothing else may leave: asyncio's futures cannot carry StopIteration,
            and an exception that kept the engine's frames would keep its tensors.
    """
    try:
        job.check_cancelled()
        watch = job._watch  # noqa: SLF001 - the host's side of a job
        if watch is not None:
            watch.taken()
        made, warm = engine()
        if warm is None:
            if watch is not None:
                watch.loaded(UNMEASURED)
            return _run(name, made, job, on_chunk)
        with warm.use(model) as job.loaded:
            if watch is not None:
                watch.loaded(UNMEASURED)
            job.check_cancelled()
            return _run(name, made, job, on_chunk)
    except BaseException as error:  # noqa: BLE001 - SystemExit of an engine ends its job, not the worker
        failure = job_error(name, job.id, error, was_asked_to_stop=job.cancelled, folders=folders_of(job))
    finally:
        job.loaded = None
    raise failure


def _run(name: str, engine: Engine, job: EngineJob, on_chunk: ChunkCallback | None) -> EngineOutput:
    result = _last(engine, job, on_chunk) if on_chunk is not None and streams(engine) else engine.run(job)
    if inspect.iscoroutine(result):
        result.close()
        raise EngineError(f"engine '{name}' has an async run, which needs isolation 'loop'", retryable=False)
    return check_output(name, job.task.kind, result, job.meta, job.work_dir)


def _last(engine: Engine, job: EngineJob, on_chunk: ChunkCallback) -> Any:
    """What a stream yields last, the result; the pieces before it are handed on."""
    pieces = engine.stream(job)
    if not hasattr(pieces, "__iter__"):
        raise EngineError(f"engine '{engine.name}' has an async stream, which needs isolation 'loop'", retryable=False)
    result = None
    for piece in pieces:
        job.check_cancelled()
        if isinstance(piece, (TextDelta, AudioChunk)):
            if result is not None:
                raise no_piece(engine, job, result)
            on_chunk(piece)
        elif result is not None:
            raise no_piece(engine, job, result)
        else:
            result = piece
    return result


def no_piece(engine: Engine, job: EngineJob, value: object) -> EngineError:
    """The error for what a stream yielded before its end, and which is no piece of a result."""
    return EngineError(
        f"engine '{engine.name}' streamed a {type(value).__name__} and went on: pieces are TextDelta or AudioChunk, "
        f"and the {RESULT_TYPES[job.task.kind].__name__} comes once, as the last",
        retryable=False,
    )
