"""What an engine raised, as the error that the job ends with."""

from __future__ import annotations

import traceback

from studio_worker.engines.self_report import said
from studio_worker.errors import BadInput, Cancelled, EngineError, JobCancelled, JobError, OutOfMemory, UnsupportedTask
from studio_worker.log import logger
from studio_worker.text import escape

MAX_MESSAGE = 1_000
"""Characters of an engine's message that travel on."""

_MAX_TRACEBACK = 8_000


def job_error(engine: str, job_id: str, error: BaseException, *, was_asked_to_stop: bool) -> JobError:
    """The job's end for whatever `engine` raised.

    UnsupportedTask, BadInput, EngineError and OutOfMemory keep their kind, with the message escaped and bounded;
    a MemoryError, or a library's own `OutOfMemoryError`, is OutOfMemory; `Cancelled` is JobCancelled where the job
    had been asked to stop; everything else, SystemExit included, is a retryable EngineError that names the type.

    Args:
        engine: the engine's name.
        job_id: the job's id, for the log.
        error: what came out of `load` or `run`.
        was_asked_to_stop: whether the cancel flag was set.
    """
    if isinstance(error, Cancelled) and was_asked_to_stop:
        return JobCancelled("the engine stopped as it was asked to")
    match error:
        case UnsupportedTask():
            return UnsupportedTask(_message(error))
        case BadInput():
            return BadInput(_message(error))
        case OutOfMemory():
            return OutOfMemory(_message(error), retryable=bool(error.retryable))
        case EngineError():
            return EngineError(_message(error), retryable=bool(error.retryable))
    _log_traceback(engine, job_id, error)
    what = escape(said(error), limit=MAX_MESSAGE)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory(f"engine '{engine}' ran out of memory: {what}")
    if isinstance(error, Cancelled):
        return EngineError(f"engine '{engine}' stopped as if cancelled, but nobody had asked it to")
    return EngineError(f"engine '{engine}' failed: {what}")


def pack_error(error: JobError) -> tuple[str, str, bool]:
    """An error of `job_error` as it crosses a pipe: kind, message, whether another try can help."""
    return type(error).__name__, error.reason if isinstance(error, JobCancelled) else str(error), error.retryable


def unpack_error(kind: str, message: str, retryable: bool) -> JobError:
    """What `pack_error` made; an unknown kind is an EngineError."""
    message = escape(message, limit=2 * MAX_MESSAGE)
    match kind:
        case "UnsupportedTask":
            return UnsupportedTask(message)
        case "BadInput":
            return BadInput(message)
        case "OutOfMemory":
            return OutOfMemory(message, retryable=retryable)
        case "JobCancelled":
            return JobCancelled(message, retryable=retryable)
        case _:
            return EngineError(message, retryable=retryable)


def _message(error: JobError) -> str:
    return escape(said(error).partition(": ")[2] or type(error).__name__, limit=MAX_MESSAGE)


def _log_traceback(engine: str, job_id: str, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
    logger.bind(event="engine.failed", job_id=job_id, engine=engine, traceback=trace).debug("An engine raised")
