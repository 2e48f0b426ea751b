"""A task that nobody waits for while all is well, and whose end is heard of all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from studio_worker.errors import StudioWorkerError


def cancelled_task(name: str) -> StudioWorkerError:
    """What a worker ends with when one of its tasks was cancelled: without it, it would only look alive."""
    return StudioWorkerError(f"the worker's task {name!r} was cancelled: start the worker again")


class SideTask:
    """Runs one piece of work at a time. A plain object of the loop.

    Args:
        name: of the task, for whoever reads a list of them, or of the error.
        on_lost: called with the reason when the work was cancelled by anybody else, or has failed.
    """

    def __init__(self, name: str, on_lost: Callable[[BaseException], None]) -> None:
        self._name = name
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_running(self) -> bool:
        """Whether the work goes on."""
        return self._task is not None and not self._task.done()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Begin; the work before it has to be over."""
        self._task = asyncio.create_task(work, name=self._name)
        self._task.add_done_callback(self._ended)

    async def aclose(self) -> None:
        """Stop, and wait for it."""
        self._is_closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if not self._is_closed:
                self._on_lost(cancelled_task(self._name))
        elif (error := task.exception()) is not None:
            self._on_lost(error)
