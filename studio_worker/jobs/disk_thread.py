"""A thread that does one thing after another on a disk, and whose end a disk that hangs holds up for a while only."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from studio_worker.daemon_thread import answer, within

T = TypeVar("T")


class DiskThread:
    """Does what it is asked for in that order; it begins with the first thing. A plain object of the loop.

    Args:
        name: of the thread, for whoever debugs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, call: Callable[[], T]) -> Future[T]:
        """Have `call` done some time soon; the future has what it returns or raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._calls.put(partial(answer, future, call))
        return future

    async def aclose(self, within_secs: float) -> None:
        """Do what was asked for and end; what has not come back by then is left, and ends with the process."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._calls.put(None)
            await within(within_secs, thread.join, name=f"end of {self._name}")

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
