"""Starting processes on the event loop, also where loops of several threads start some at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

P = TypeVar("P", bound=asyncio.SubprocessProtocol)

PAUSE_SECS = 0.002

_turn = threading.Lock()
"""uvloop lets one loop of a process at a time start another process; in all others it raises, and leaves pipes open."""


async def spawn(protocol: Callable[[], P], *command: str, **options: Any) -> tuple[asyncio.SubprocessTransport, P]:
    """What `loop.subprocess_exec` gives for the same arguments.

    Raises:
        OSError: no process could be started.
    """
    loop = asyncio.get_running_loop()
    if not type(loop).__module__.startswith("uvloop"):
        return await loop.subprocess_exec(protocol, *command, **options)
    async with _one_loop_at_a_time():
        return await loop.subprocess_exec(protocol, *command, **options)


@asynccontextmanager
async def _one_loop_at_a_time() -> AsyncIterator[None]:
    # No asyncio lock serves several loops, and a thread's own would hold this one up.
    while not _turn.acquire(blocking=False):  # noqa: ASYNC110
        await asyncio.sleep(PAUSE_SECS)
    try:
        yield
    finally:
        _turn.release()
