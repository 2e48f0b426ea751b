"""A call that may never come back, in a thread of its own, which holds up nobody and no end of a process."""

from __future__ import annotations

import asyncio
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
    threading.Thread(target=answer, args=(future, call), name=name, daemon=True).start()
    return future


async def within(secs: float, call: Callable[[], object], *, name: str) -> bool:
    """Whether `call` came back in time; where it did not, its thread is left to itself. Raises what it raises."""
    done = asyncio.wrap_future(in_daemon_thread(call, name=name))
    finished, _ = await asyncio.wait([done], timeout=secs)
    if finished:
        done.result()
    return bool(finished)


def answer(future: Future[T], call: Callable[[], T]) -> None:
    """Make `call` here and now, and give the future what it returns or raises; not where that was cancelled."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told, if anybody still does
        future.set_exception(error)
