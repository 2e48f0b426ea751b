"""A call that may never come back, in a thread of its own, which holds up nobody and no end of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_daemon_thread(call: Callable[[], T], *, name: str) -> Future[T]:
    """Begin `call`; the future has what it returns or raises.

    Cancelling the future keeps a call from being made that has not begun; one that has begun goes on, unheard.

    Args:
        call: may block for ever.
        name: of the thread, for whoever debugs.

    Raises:
        RuntimeError: no thread can be started.
    """
    future: Future[T] = Future()
    threading.Thread(target=_run, args=(future, call), name=name, daemon=True).start()
    return future


def _run(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told, if anybody still does
        future.set_exception(error)
