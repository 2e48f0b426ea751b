"""Looks at what may never answer: a disk, a driver. One at a time, in threads that hold nothing and nobody.

The loop's own pool has few threads and joins them at its end: a handful of looks that hang would leave nothing to start
engines with, and no way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from studio_worker.daemon_thread import in_daemon_thread

T = TypeVar("T")


class Lookout:
    """Takes blocking looks, one after another.

    Args:
        name: of the thread, for whoever debugs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = asyncio.Lock()
        self._out: Future[Any] | None = None

    async def look(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises.

        A caller that is cancelled goes; its thread does not, and until that has come back later looks wait for it. So
        a look that hangs costs one thread, however many ask.

        Raises:
            TimeoutError: no thread can be started, which is told as a look that does not come back; a later one may.
        """
        async with self._turn:
            if self._out is not None and not self._out.done():
                await asyncio.wrap_future(_end_of(self._out))
            # A look whose thread could not be started is none that later ones wait for.
            try:
                self._out = future = in_daemon_thread(call, name=self._name)
            except RuntimeError as error:
                raise TimeoutError(str(error)) from None
            return await asyncio.wrap_future(future)


def _end_of(look: Future[Any]) -> Future[None]:
    """Done when a look is, and silent about how it went."""
    end: Future[None] = Future()
    look.add_done_callback(lambda _: end.set_result(None) if end.set_running_or_notify_cancel() else None)
    return end
