"""Names to addresses: each question in a thread of its own, which holds up nobody and no end.

The loop's own pool has few threads and joins them when the loop ends: a handful of questions that a server of names
lets lie would leave nothing to start engines with, and a worker that is told to stop would wait for every answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from aiohttp import ThreadedResolver

from studio_worker.daemon_thread import in_daemon_thread


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


async def _answer(ask: Callable[[], Any]) -> Any:
    return await asyncio.wrap_future(in_daemon_thread(ask, name="names"))
