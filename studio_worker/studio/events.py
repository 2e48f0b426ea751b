"""What changes, told to whoever listens: a bounded queue for each reader, and a slow reader is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio_worker.wire.strict_json import dumps_lossy


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changed: `topic` is job, progress, worker, pending, model or log."""

    topic: str
    data: dict[str, Any]

    def text(self) -> bytes:
        """The change as a server-sent event (WHATWG HTML, section 9.2)."""
        return f"event: {self.topic}\ndata: {dumps_lossy(self.data)}\n\n".encode()


class Reader:
    """One listener.

    Args:
        bound: changes that may wait.
        drop: called once when more would wait; the listener's connection is ended there.
    """

    def __init__(self, bound: int, drop: Callable[[], None]) -> None:
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue(bound)
        self._drop = drop
        self.is_dropped = False

    def give(self, change: Change | None) -> None:
        """Queue a change (None: the end), or drop the reader."""
        if self.is_dropped:
            return
        try:
            self._queue.put_nowait(change)
        except asyncio.QueueFull:
            self.is_dropped = True
            self._drop()

    async def next(self, secs: float) -> Change | None:
        """The next change; None at the end. Raises TimeoutError when nothing comes in `secs`."""
        async with asyncio.timeout(secs):
            return await self._queue.get()


class Hub:
    """Hands changes to readers; never blocks, never raises.

    Args:
        bound: changes that may wait for one reader.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._readers: set[Reader] = set()
        self._is_closed = False

    @property
    def readers(self) -> int:
        """How many listen."""
        return len(self._readers)

    def publish(self, topic: str, **data: Any) -> None:
        """Tell every reader; None values are left out."""
        change = Change(topic, {key: value for key, value in data.items() if value is not None})
        for reader in tuple(self._readers):
            reader.give(change)

    def join(self, drop: Callable[[], None]) -> Reader:
        """A new reader."""
        reader = Reader(self._bound, drop)
        self._readers.add(reader)
        if self._is_closed:
            reader.give(None)
        return reader

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)

    def close(self) -> None:
        """End every stream."""
        self._is_closed = True
        for reader in tuple(self._readers):
            reader.give(None)
