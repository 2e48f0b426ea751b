"""Which models are loaded, who may use them, and who waits for memory. Keys and numbers only, never an engine.

The order, in full. Requests stand in the order in which they came. Whenever something changes they are looked at from
the front, and each gets its lease where

1. its model is loaded already. It may overtake those in front of it, which is what keeps alternating requests from
   swapping models back and forth; but not one that has waited `patience_secs` for memory which its model holds. From
   then on that one is overtaken no more;
2. or its model fits beside those in use, idle ones making room by (idle time ÷ reload cost). Memory that somebody in
   front waits for is kept for them, so this delays nobody: two devices serve two requests at once, and on one device
   it is first come, first served.

A request that can never be served, with every other model unloaded but those that are pinned, fails at once.

What holds one model at a time, an engine's process, is counted as a device with room for one (`Need.place`): so
requests of one engine keep to this order too, and it is not swapped back and forth.

The walk of one load: the lease names the keys to unload first; whoever holds it has them unloaded, says `gone` for
each, and loads then. A lease that ends before all of them are gone has loaded nothing, and what is left stays resident.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from studio_worker.clock import Clock
from studio_worker.errors import EngineError, OutOfMemory
from studio_worker.models.memory_ledger import Entry, Memory, MemoryLedger, Need
from studio_worker.text import escape

__all__ = ["Lease", "Need", "Residency", "Resident"]

PATIENCE_SECS = 60.0
"""How long a request lets others of a loaded model overtake it. About what loading 10 GB from a disk of 200 MB/s takes:
a longer wait would cost its caller more than the swap that it saves."""

MAX_MEASURED = 256
"""Keys whose measured sizes are remembered after they have gone; the one measured longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to have a model loaded and to use it.

    Attributes:
        key: the model's key.
        evict: the keys to unload first, in this order; `Residency.gone` is to be told of each.
        is_shared: whether it was loaded, or being loaded, for somebody before.
    """

    key: str
    evict: tuple[str, ...] = ()
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded model, for people. `ram_bytes` and `vram_bytes` are measured where they could be."""

    key: str
    engine: str
    device: str
    ram_bytes: int
    vram_bytes: int
    users: int
    idle_secs: float


@dataclass(eq=False, slots=True)
class _Request:
    need: Need
    since: float
    granted: asyncio.Future[tuple[Lease, Entry]]


class Residency:
    """Admits loads within the memory of the devices. A plain object of the loop: no lock, no wait but for one's turn.

    Args:
        budget: the bytes that models may take of each device (``cpu`` is RAM), asked each time; call `refresh` where
            waiting requests are to see a change at once.
        clock: time.
        patience_secs: how long a request may be overtaken.
        pinned: the ids of the models that, once loaded, make room for nobody, asked each time.
    """

    def __init__(
        self,
        budget: Callable[[], Memory],
        *,
        clock: Clock,
        patience_secs: float = PATIENCE_SECS,
        pinned: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._patience_secs = patience_secs
        self._ledger = MemoryLedger(pinned)
        self._waiting: list[_Request] = []
        self._measured: OrderedDict[str, tuple[int, int]] = OrderedDict()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keys that are waited for, in the order in which they were asked for."""
        return tuple(request.need.key for request in self._waiting)

    @property
    def residents(self) -> tuple[Resident, ...]:
        """What is loaded, or about to be, those that came first in front."""
        now = self._clock.monotonic()
        return tuple(
            Resident(
                key,
                entry.need.engine,
                entry.need.device,
                *self._measured.get(key, (entry.need.ram_bytes, entry.need.vram_bytes)),
                users=entry.users,
                idle_secs=0.0 if entry.users else now - entry.last_used,
            )
            for key, entry in self._ledger.entries.items()
        )

    @asynccontextmanager
    async def admit(self, need: Need) -> AsyncIterator[Lease]:
        """Wait for one's turn and hold the model until the block is left.

        Cancelled while it waits, it leaves no trace.

        Raises:
            OutOfMemory: it can never fit; the sentence says needed, free and held by whom, and nothing is evicted.
            EngineError: there is no such device.
        """
        request = _Request(need, self._clock.monotonic(), asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._serve()
        try:
            lease, entry = await request.granted if not request.granted.done() else request.granted.result()
        except asyncio.CancelledError:
            self._withdraw(request)
            raise
        try:
            yield lease
        finally:
            entry.last_used = self._clock.monotonic()
            self._leave(entry)

    def measured(self, key: str, ram_bytes: int, vram_bytes: int) -> None:
        """What a loaded model really takes; it replaces the estimate, now and the next time.

        No more than the whole budget counts: what has been loaded once is not refused for its size the next time.
        """
        entry = self._ledger.entries.get(key)
        if entry is None:
            return
        entry.is_gone = False
        self._measured[key] = (max(0, ram_bytes), max(0, vram_bytes))
        self._measured.move_to_end(key)
        if len(self._measured) > MAX_MEASURED:
            self._measured.popitem(last=False)
        entry.memory = self._memory(entry.need, self._room())
        self._serve()

    def gone(self, key: str) -> None:
        """A model is not loaded any more: it was unloaded, its load failed, or its process died.

        Where leases on it are open it counts until they end, unless it is loaded again (`measured`, or another lease).
        """
        entry = self._ledger.entries.get(key)
        if entry is None:
            return
        if entry.users:
            entry.is_gone = True
            return
        self._forget(entry)
        self._serve()

    def surplus(self) -> tuple[str, ...]:
        """The idle models to unload since a measured size, or a smaller budget, has overdrawn a device."""
        budget = self._room()
        overdrawn = [name for name, free in self._ledger.free(budget).items() if free < 0]
        return tuple(self._ledger.victims(dict.fromkeys(overdrawn, 0), budget, {}, self._clock.monotonic()))

    @contextmanager
    def retire(self, key: str) -> Iterator[bool]:
        """Keep everybody off an idle model while it is unloaded in this block; say `gone` once it is.

        Yields whether it may be unloaded: False for one that is in use, on its way out or not here. Without `gone` in
        the block it stays resident.
        """
        entry = self._ledger.entries.get(key)
        if entry is None or not entry.is_idle:
            yield False
            return
        entry.is_leaving = True
        try:
            yield True
        finally:
            entry.is_leaving = False
            self._serve()

    def refresh(self) -> None:
        """Look at the budget again."""
        self._serve()

    def _serve(self) -> None:
        """Give leases to all whose turn it is; the rule is at the top of this file."""
        now, budget = self._clock.monotonic(), self._room()
        reserved: dict[str, int] = {}
        owed: set[str] = set()
        still: list[_Request] = []
        for request in self._waiting:
            if request.granted.done():
                continue
            entry = self._ledger.entries.get(request.need.key)
            memory, model = self._memory(request.need, budget), request.need.model
            if (problem := self._impossible(request.need, entry, memory, budget)) is not None:
                request.granted.set_exception(problem)
            elif entry is not None and not entry.is_leaving:
                # While others still make room for it, a second lease could not say that they are gone.
                if not entry.making_room and owed.isdisjoint(entry.charge):
                    self._share(request, entry)
                else:
                    still.append(request)
            elif entry is None and not self._ledger.short(memory, budget, reserved, model=model):
                self._load(request, memory, budget, reserved, now)
            else:
                still.append(request)
                if now - request.since >= self._patience_secs:
                    owed |= self._ledger.short(memory, budget, reserved, model=model)
                for name, size in memory.items():
                    reserved[name] = reserved.get(name, 0) + size
        self._waiting = still

    def _share(self, request: _Request, entry: Entry) -> None:
        entry.users += 1
        entry.is_gone = False
        request.granted.set_result((Lease(entry.need.key, is_shared=True), entry))

    def _load(self, request: _Request, memory: Memory, budget: Memory, reserved: Memory, now: float) -> None:
        evict = self._ledger.victims(memory, budget, reserved, now, model=request.need.model)
        entry = Entry(request.need, memory, now, users=1)
        entry.making_room = {key: self._ledger.entries[key] for key in evict}
        for left in entry.making_room.values():
            left.is_leaving = True
        self._ledger.entries[request.need.key] = entry
        request.granted.set_result((Lease(request.need.key, tuple(evict)), entry))

    def _withdraw(self, request: _Request) -> None:
        """Undo what a cancelled request has caused, a lease that it was given and never saw included."""
        if not request.granted.done():
            request.granted.cancel()
        elif not request.granted.cancelled() and request.granted.exception() is None:
            lease, entry = request.granted.result()
            # Somebody may share by now what this one was to load.
            entry.is_gone = entry.is_gone or (not lease.is_shared and entry.users == 1)
            self._leave(entry)
            return
        self._serve()

    def _leave(self, entry: Entry) -> None:
        entry.users -= 1
        if not entry.users:
            if entry.making_room:
                # Not all have made room, so it was never loaded; those that are left stay.
                for left in entry.making_room.values():
                    left.is_leaving = False
                entry.making_room = {}
                self._forget(entry)
            elif entry.is_gone:
                self._forget(entry)
        self._serve()

    def _forget(self, entry: Entry) -> None:
        self._ledger.entries.pop(entry.need.key, None)
        for other in self._ledger.entries.values():
            other.making_room.pop(entry.need.key, None)

    def _room(self) -> Memory:
        """The budget, and every place that anybody has or wants, with room for one."""
        needs = (*(entry.need for entry in self._ledger.entries.values()), *(waiting.need for waiting in self._waiting))
        return {**self._budget(), **{need.place: 1 for need in needs if need.place}}

    def _memory(self, need: Need, budget: Memory) -> Memory:
        if need.key not in self._measured:
            return need.memory
        sizes = need.memory_with(*self._measured[need.key])
        return {name: min(size, budget.get(name, size)) for name, size in sizes.items()}

    def _impossible(self, need: Need, entry: Entry | None, memory: Memory, budget: Memory) -> EngineError | None:
        if need.device not in budget:
            return EngineError(
                f"model '{escape(need.key, limit=200)}' of engine '{need.engine}' is to run on {need.device}, which is "
                f"not here; this worker has {', '.join(sorted(self._budget())) or 'no device'}"
            )
        names = set() if entry is not None else self._ledger.never(memory, budget, model=need.model)
        return OutOfMemory(self._ledger.refusal(need, memory, budget, names)) if names else None
