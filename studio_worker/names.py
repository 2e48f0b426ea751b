"""Names to addresses: each question in a thread of its own, which holds up nobody and no end.

The loop's own pool has few threads and joins them when the loop ends: a handful of questions that a server of names
lets lie would leave nothing to start engines with, and a worker that is told to stop would wait for every answer.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar, cast

from aiohttp import ThreadedResolver

T = TypeVar("T")


class Names(ThreadedResolver):
    """The machine's own resolver. A question that is given up ends in its thread, when the system gives it up too."""

    def __init__(self) -> None:
        super().__init__(cast("asyncio.AbstractEventLoop", _Threads()))


class _Threads:
    """Of an event loop what a resolver asks of it."""

    async def getaddrinfo(self, host: str, port: int, **more: Any) -> Any:
        return await _answer(partial(socket.getaddrinfo, host, port, **more))

    async def getnameinfo(self, address: Any, flags: int = 0) -> Any:
        return await _answer(partial(socket.getnameinfo, address, flags))


async def _answer(ask: Callable[[], T]) -> T:
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    threading.Thread(target=_run, args=(future, ask), name="names", daemon=True).start()
    return await asyncio.wrap_future(future)


def _run(future: Future[T], ask: Callable[[], T]) -> None:
    try:
        future.set_result(ask())
    except BaseException as error:  # noqa: BLE001 - the asker is told, if there still is one
        future.set_exception(error)
