"""Events from the worker's rooms to whoever listens; a slow listener never holds the worker up."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Self
from weakref import ref

from studio_worker.events import JobProgress, WorkerEvent

MAX_WAITING = 1_024
"""Events that wait for one reader; beyond it the oldest go."""


class EventBus:
    """An `EventSink` with any number of readers; it lives on one event loop."""

    def __init__(self) -> None:
        self._readers: set[ref[EventReader]] = set()
        self._closed = False

    def emit(self, event: WorkerEvent) -> None:
        """Hand an event to every reader; never blocks, never raises."""
        if self._readers:
            for reader in self._living():
                reader.put(event)

    def events(self) -> EventReader:
        """A new reader of what happens from this call on, until `close`."""
        reader = EventReader()
        if self._closed:
            reader.end()
        self._readers.add(ref(reader, self._readers.discard))
        return reader

    def close(self) -> None:
        """End every reader once it has read what waits for it."""
        self._closed = True
        for reader in self._living():
            reader.end()

    def _living(self) -> list[EventReader]:
        """The readers that somebody still holds; one that was dropped is forgotten."""
        return [reader for found in tuple(self._readers) if (reader := found()) is not None]


class EventReader:
    """An async iterator over events, in order; of a job's waiting progress only the latest is kept.

    A reader that does not keep up holds nobody up: of what waits for it the oldest go, and `missed` counts them. It
    ends once the worker has ended and it has read the rest. Two who iterate over the same reader share its events
    between them: each needs a reader of its own.

    Attributes:
        missed: events that went because this reader was slow; progress in place of earlier progress is not counted.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._waiting: OrderedDict[object, WorkerEvent] = OrderedDict()
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, event: WorkerEvent) -> None:
        """Add an event; beyond `MAX_WAITING` the oldest goes."""
        key: object = ("progress", event.job_id) if isinstance(event, JobProgress) else object()
        self._waiting[key] = event
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
            self.missed += 1
        self._wake.set()

    def end(self) -> None:
        """No more events come."""
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WorkerEvent:
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popitem(last=False)[1]
