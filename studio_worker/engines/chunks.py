"""Pieces of a streamed result on their way from an engine, in any thread, to whoever follows it on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from studio_worker.engines.base import AudioChunk, TextDelta
from studio_worker.log import logger


class ChunkRelay:
    """Hands pieces to `deliver` on the loop, in order; one wake-up for all that gathered since the last.

    Made on the loop; called from any thread.
    """

    def __init__(self, deliver: Callable[[TextDelta | AudioChunk], None], *, job_id: str) -> None:
        self._deliver = deliver
        self._job_id = job_id
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._waiting: list[TextDelta | AudioChunk] = []
        self._is_closed = False

    def __call__(self, piece: TextDelta | AudioChunk) -> None:
        """Take a piece. Never raises, never blocks."""
        with self._lock:
            if self._is_closed:
                return
            self._waiting.append(piece)
            if len(self._waiting) > 1:
                return
        try:
            self._loop.call_soon_threadsafe(self._send)
        except RuntimeError:
            # The loop is closed; nobody is left to tell.
            return

    def close(self, *, flush: bool) -> None:
        """Take no more pieces; on the loop. `flush` hands on those that wait first."""
        with self._lock:
            self._is_closed = True
            if not flush:
                self._waiting.clear()
        self._send()

    def _send(self) -> None:
        with self._lock:
            pieces, self._waiting = self._waiting, []
        for piece in pieces:
            try:
                self._deliver(piece)
            except Exception as error:  # noqa: BLE001 - whoever listens must not end the job
                logger.bind(event="engine.chunk", job_id=self._job_id).opt(exception=error).error(
                    "A listener of a stream failed"
                )
