"""What an engine raised, as the error that the job ends with."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from studio_worker.engines.base import EngineJob
from studio_worker.engines.self_report import said
from studio_worker.errors import BadInput, Cancelled, EngineError, JobCancelled, JobError, OutOfMemory, UnsupportedTask
from studio_worker.log import logger
from studio_worker.text import escape

MAX_MESSAGE = 1_000
"""Characters of an engine's message that travel on."""

_MAX_TRACEBACK = 8_000


def job_error(
    engine: str, job_id: str, error: BaseException, *, was_asked_to_stop: bool, folders: Iterable[Path] = ()
) -> JobError:
    """The job's end for whatever `engine` raised.

    UnsupportedTask, BadInput, EngineError and OutOfMemory keep their kind, with the message escaped and bounded;
    a MemoryError, or a library's own `OutOfMemoryError`, is OutOfMemory; `Cancelled` is JobCancelled where the job
    had been asked to stop; everything else, SystemExit included, is a retryable EngineError that names the type.

    Args:
        engine: the engine's name.
        job_id: the job's id, for the log.
        error: what came out of `load` or `run`.
        was_asked_to_stop: whether the cancel flag was set.
        folders: those of the job (`folders_of`): a studio is told the names of files in them, and not where they lie.
    """
    if isinstance(error, Cancelled) and was_asked_to_stop:
        return JobCancelled("the engine stopped as it was asked to")
    match error:
        case UnsupportedTask():
            return UnsupportedTask(_message(error, folders))
        case BadInput():
            return BadInput(_message(error, folders))
        case OutOfMemory():
            return OutOfMemory(_message(error, folders), retryable=bool(error.retryable))
        case EngineError():
            return EngineError(_message(error, folders), retryable=bool(error.retryable))
    _log_traceback(engine, job_id, error)
    what = escape(_named(said(error), folders), limit=MAX_MESSAGE)
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


def folders_of(job: EngineJob) -> set[Path]:
    """The folders of this machine that an engine's words about a job may name: its own, and those of its files."""
    files = [*job.inputs.values(), *(path for paths in job.files.values() for path in paths)]
    return {job.work_dir, *(path.parent for path in files)}


def _message(error: JobError, folders: Iterable[Path]) -> str:
    words = said(error).partition(": ")[2] or type(error).__name__
    return escape(_named(words, folders), limit=MAX_MESSAGE)


def _named(text: str, folders: Iterable[Path]) -> str:
    """`text` with what lies in these folders by its name alone; the innermost folder counts."""
    for folder in sorted(folders, key=lambda each: len(str(each)), reverse=True):
        if folder.name:
            # An OSError shows its path as Python writes it, on Windows with each backslash twice.
            forms = "|".join(re.escape(form) for form in {str(folder), repr(str(folder))[1:-1]})
            text = re.sub(rf"(?<![\w.-])(?:{forms})[/\\]+", "", text)
            name = folder.name.replace("\\", "\\\\")
            text = re.sub(rf"(?<![\w.-])(?:{forms})(?![\w.-])", name, text)
    return text


def _log_traceback(engine: str, job_id: str, error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))[-_MAX_TRACEBACK:]
    logger.bind(event="engine.failed", job_id=job_id, engine=engine, traceback=trace).debug("An engine raised")
