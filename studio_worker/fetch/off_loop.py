"""Blocking work in a thread that its caller never leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T], *, is_over: threading.Event | None = None) -> T:
    """Run blocking `work` in a thread; a cancellation waits for the thread, so that nothing goes on behind it.

    However many cancellations come meanwhile; what the thread raises then is the cause of the cancellation.

    Args:
        work: what to do.
        is_over: set at a cancellation, for long work that looks at it and ends.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError as cancelled:
        if is_over is not None:
            is_over.set()
        while not thread.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([thread])
        raise cancelled from None if thread.cancelled() else thread.exception()
