"""Threads of our own, one small crew an engine: a stuck engine neither starves others nor keeps the process alive.

The standard pool joins its threads when the interpreter ends, so one engine that never returns would hold the
worker for ever; these are daemon threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Crew:
    """At most `size` daemon threads that run calls in order; they start when they are first needed."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0
        self._is_closed = False

    @property
    def is_free(self) -> bool:
        """Whether a call would be taken at once."""
        return self._open < self._size

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run `call` in a thread; what it returns or raises, whatever it is, goes into the future.

        A future that is cancelled before a thread took it never runs.

        Raises:
            RuntimeError: the crew was closed.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"the threads of {self._name} have been closed")
            self._open += 1
            if self._threads < min(self._open, self._size):
                self._threads += 1
                threading.Thread(target=self._serve, name=f"{self._name}-{self._threads}", daemon=True).start()
            self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Take no more calls; each thread ends once the calls before are done. Waits for nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            for _ in range(self._threads):
                self._calls.put(None)

    def _serve(self) -> None:
        while (entry := self._calls.get()) is not None:
            future, call = entry
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - the caller is told, also of SystemExit
                    future.set_exception(error)
            # Nothing of the last job may stay alive in an idle thread.
            del entry, future, call
            with self._lock:
                self._open -= 1
