"""Blocking work in a thread that its caller never leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def off_loop(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread; a cancellation waits for the thread, so that nothing goes on behind it.

    However many cancellations come meanwhile; what the thread raises then is the cause of the cancellation.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError as cancelled:
        while not thread.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([thread])
        raise cancelled from None if thread.cancelled() else thread.exception()
