"""How a worker's main task ends: told to a start that still waits, as one error out of many, and never left alone."""

from __future__ import annotations

import asyncio


def hand_on(main: asyncio.Task[None], ready: asyncio.Future[None]) -> None:
    """End a start that is still waited for with what ended the worker; mark its error as seen."""
    error = None if main.cancelled() else main.exception()
    if not ready.done():
        if error is None:
            ready.cancel()
        else:
            ready.set_exception(error)


async def wait_out(task: asyncio.Task[None]) -> None:
    """Return when a task has ended, however often the caller is cancelled meanwhile, and whatever it ended with.

    Raises:
        asyncio.CancelledError: the caller was cancelled.
    """
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        raise cancellation


def first_error(error: BaseException) -> BaseException:
    """The first error that is no group, out of groups in groups; an error that is none is itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
