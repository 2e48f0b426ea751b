"""Asking a busy database again where nobody else would: the moves that a session owes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from studio_worker.clock import Clock
from studio_worker.log import logger
from studio_worker.studio.store.port import StoreBusy

_T = TypeVar("_T")
TRIES = 10
PAUSE_SECS = 0.5


async def patiently(clock: Clock, ask: Callable[[], Awaitable[_T]], tries: int = TRIES) -> _T:
    """What `ask` returns, asked up to `tries` times while the store is busy. Raises the last `StoreBusy`."""
    for left in range(tries - 1, -1, -1):
        try:
            return await ask()
        except StoreBusy as error:
            if not left:
                raise
            logger.bind(event="studio.store_busy", error=str(error)).warning("The database is busy; asked again")
            await clock.sleep(PAUSE_SECS)
    raise AssertionError("tries must be at least 1")
