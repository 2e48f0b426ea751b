"""Whatever went wrong on a job, as the one error that it ends with."""

from __future__ import annotations

from studio_worker.errors import EngineError, JobError
from studio_worker.log import logger
from studio_worker.text import escape


def narrow(error: BaseException) -> BaseException:
    """The first error of nested groups: what ended the others is what is told."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def as_job_error(error: BaseException, job_id: str) -> JobError:
    """The error that a job ends with.

    A `JobError` is itself. Anything else is no fault of the claim, so that another try may help; it is logged with
    its traceback, since nobody planned for it.
    """
    error = narrow(error)
    if isinstance(error, JobError):
        return error
    logger.bind(event="jobs.unplanned", job_id=job_id).opt(exception=error).error("A job met an error of the worker")
    if isinstance(error, OSError):
        return EngineError(f"this worker could not work with its own files: {error.strerror or error}")
    return EngineError(f"this worker failed on the job: {type(error).__name__}: {escape(str(error), limit=500)}")
