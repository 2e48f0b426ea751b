"""Work that goes on for a job after its call was cancelled: who waits for its end finds it here."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from typing import Any


class LeftBehindWork:
    """By job id, the futures of what threads and children still do. On the loop."""

    def __init__(self) -> None:
        self._left: dict[str, set[Future[Any]]] = {}

    def add(self, job_id: str, future: Future[Any]) -> None:
        """Take note of work until its future is done."""
        self._left.setdefault(job_id, set()).add(future)
        loop = asyncio.get_running_loop()
        future.add_done_callback(partial(self._on_loop, loop, job_id))

    async def settled(self, job_id: str) -> None:
        """Return once nothing is done for this job any more; at once where nothing is."""
        while left := self._left.get(job_id):
            ends = [asyncio.wrap_future(future) for future in left]
            for end in ends:
                # How the engine ended is known already; asyncio would complain of an error that nobody reads.
                end.add_done_callback(_see)
            await asyncio.wait(ends)
            for future in [future for future in left if future.done()]:
                self._forget(job_id, future)

    def _on_loop(self, loop: asyncio.AbstractEventLoop, job_id: str, future: Future[Any]) -> None:
        try:
            loop.call_soon_threadsafe(self._forget, job_id, future)
        except RuntimeError:
            # The loop is closed; nobody waits any more.
            return

    def _forget(self, job_id: str, future: Future[Any]) -> None:
        left = self._left.get(job_id, set())
        left.discard(future)
        if not left:
            self._left.pop(job_id, None)


def _see(end: asyncio.Future[Any]) -> None:
    if not end.cancelled():
        end.exception()
