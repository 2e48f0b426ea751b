"""How memory is counted: what models take of each device, what a new one lacks, and which idle ones make room for it.

All of it is arithmetic on one thread; nothing waits and nothing is loaded here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from studio_worker.text import escape

CPU = "cpu"
"""The device whose memory is the machine's RAM."""

MIN_RELOAD_SECS = 0.1
"""What a model costs to load again at the least; an engine that says 0 would otherwise always be the first to go."""

Memory: TypeAlias = Mapping[str, int]
"""Bytes by device id; ``cpu`` is RAM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a job needs loaded.

    Attributes:
        key: what makes two loads the same: ``<model id>#<what tells loads of it apart>``. Whoever asks makes it up.
        engine: the engine's name, for sentences.
        device: where it is to run: ``cpu``, ``cuda:0`` ….
        ram_bytes: RAM that it takes once loaded.
        vram_bytes: memory of `device` that it takes; on ``cpu`` that is RAM too.
        reload_secs: what loading it again would cost.
        place: what holds one model at a time, such as an engine's process; empty: nothing does.
    """

    key: str
    engine: str
    device: str = CPU
    ram_bytes: int = 0
    vram_bytes: int = 0
    reload_secs: float = 1.0
    place: str = ""

    def __post_init__(self) -> None:
        if self.ram_bytes < 0 or self.vram_bytes < 0:
            raise ValueError(f"the need of {self.key!r} is negative: {self.ram_bytes} and {self.vram_bytes} bytes")
        if not 0 <= self.reload_secs < math.inf:
            raise ValueError(f"the reload cost of {self.key!r} is no number of seconds: {self.reload_secs}")

    @property
    def model(self) -> str:
        """The id of the model."""
        return self.key.rpartition("#")[0] or self.key

    @property
    def memory(self) -> Memory:
        """The bytes by device; devices of which it takes nothing are left out."""
        return self.memory_with(self.ram_bytes, self.vram_bytes)

    def memory_with(self, ram_bytes: int, vram_bytes: int) -> Memory:
        """`memory` with other sizes. A place counts as a device with room for one."""
        sizes = memory_of(self.device, ram_bytes, vram_bytes)
        return {**sizes, self.place: 1} if self.place else sizes


def memory_of(device: str, ram_bytes: int, vram_bytes: int) -> Memory:
    """RAM and a device's own memory as bytes by device."""
    if device == CPU:
        ram_bytes, vram_bytes = ram_bytes + vram_bytes, 0
    return {name: size for name, size in ((CPU, ram_bytes), (device, vram_bytes)) if size}


@dataclass(eq=False, slots=True)
class Entry:
    """One model that is loaded, or about to be.

    Attributes:
        need: what it was admitted with.
        memory: what it takes, as estimated or measured.
        last_used: when the last lease on it ended.
        users: open leases.
        making_room: models whose place it takes and which are not known to be unloaded yet. While there are any it
            counts as the larger of both, device by device, since it is loaded only after they have gone.
        is_leaving: it is being unloaded; nobody may share it.
        is_gone: its process died; it is forgotten when the last lease ends.
    """

    need: Need
    memory: Memory
    last_used: float
    users: int = 0
    making_room: dict[str, Entry] = field(default_factory=dict)
    is_leaving: bool = False
    is_gone: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it and it is not on its way out."""
        return not self.users and not self.is_leaving

    @property
    def charge(self) -> Memory:
        """What it counts as."""
        if not self.making_room:
            return self.memory
        leaving = total(entry.memory for entry in self.making_room.values())
        return {name: max(self.memory.get(name, 0), leaving.get(name, 0)) for name in {*self.memory, *leaving}}

    def worth_unloading(self, now: float) -> float:
        """Idle time over reload cost: the higher, the sooner it goes."""
        return (now - self.last_used) / max(self.need.reload_secs, MIN_RELOAD_SECS)


def total(parts: Iterable[Memory]) -> dict[str, int]:
    """The sum, device by device."""
    found: dict[str, int] = {}
    for part in parts:
        for name, size in part.items():
            found[name] = found.get(name, 0) + size
    return found


class MemoryLedger:
    """The entries by key, and the questions about their memory.

    Attributes:
        entries: what is loaded or about to be.

    Args:
        pinned: the ids of the models of this moment that make room for nobody.
    """

    def __init__(self, pinned: Callable[[], Collection[str]] = tuple) -> None:
        self.entries: dict[str, Entry] = {}
        self._pinned = pinned

    def charged(self) -> Iterator[Entry]:
        """The entries that count; one that makes room for another counts with that one."""
        replaced = {id(left) for entry in self.entries.values() for left in entry.making_room.values()}
        return (entry for entry in self.entries.values() if id(entry) not in replaced)

    def free(self, budget: Memory) -> dict[str, int]:
        """What is left of each device; negative where a measured size or a smaller budget has overdrawn it."""
        used = total(entry.charge for entry in self.charged())
        return {name: budget.get(name, 0) - used.get(name, 0) for name in {*budget, *used}}

    def short(self, memory: Memory, budget: Memory, reserved: Memory, *, model: str | None = None) -> set[str]:
        """The devices of which `memory` would get too little even if every idle model made room that may."""
        stay = (entry for entry in self.charged() if not entry.is_idle or self._is_fixed(entry, model))
        held = total((reserved, *(entry.charge for entry in stay)))
        return {name for name, size in memory.items() if size + held.get(name, 0) > budget.get(name, 0)}

    def never(self, memory: Memory, budget: Memory, *, model: str | None = None) -> set[str]:
        """The devices of which `memory` would get too little even if all other models went but the pinned ones."""
        fixed = (entry for entry in self.charged() if self._is_fixed(entry, model))
        held = total(entry.memory for entry in fixed if not entry.is_leaving and not entry.is_gone)
        return {name for name, size in memory.items() if size + held.get(name, 0) > budget.get(name, 0)}

    def victims(
        self, memory: Memory, budget: Memory, reserved: Memory, now: float, *, model: str | None = None
    ) -> list[str]:
        """The idle models that make room for `memory`, the first to go first; all that there are if that is too few.

        Never a pinned one, unless it is an earlier load of the very `model`. Chosen by idle time over reload cost; one
        that turns out not to be needed, since a later one is so large, is spared.
        """
        free = self.free(budget)
        lacking = {
            name: size + reserved.get(name, 0) - free.get(name, 0)
            for name, size in memory.items()
            if size + reserved.get(name, 0) > free.get(name, 0)
        }
        ranked = sorted(
            (entry for entry in self.charged() if entry.is_idle and not self._is_fixed(entry, model)),
            key=lambda entry: (-entry.worth_unloading(now), entry.last_used, entry.need.key),
        )
        chosen: list[Entry] = []
        for entry in ranked:
            if all(size <= 0 for size in lacking.values()):
                break
            if any(lacking.get(name, 0) > 0 for name in entry.memory):
                chosen.append(entry)
                lacking = {name: size - entry.memory.get(name, 0) for name, size in lacking.items()}
        for entry in reversed(chosen[:-1]):
            if all(size + entry.memory.get(name, 0) <= 0 for name, size in lacking.items()):
                chosen.remove(entry)
                lacking = {name: size + entry.memory.get(name, 0) for name, size in lacking.items()}
        return [entry.need.key for entry in chosen]

    def refusal(self, need: Need, memory: Memory, budget: Memory, names: Iterable[str]) -> str:
        """Why `need` can never be loaded here: needed, free, and held by whom, for each device that is too small."""
        free = self.free(budget)
        parts = []
        for name in sorted(names):
            held = ", ".join(self._held(entry, name) for entry in self.charged() if entry.charge.get(name)) or "nobody"
            if name == need.place:
                parts.append(f"its engine's process holds one model at a time, and keeps {held}")
                continue
            parts.append(
                f"needs {gib(memory[name])} of {name}, {gib(max(0, free.get(name, 0)))} of {gib(budget.get(name, 0))} "
                f"free, held by {held}"
            )
        return f"model '{escape(need.key, limit=200)}' of engine '{need.engine}' does not fit: " + "; ".join(parts)

    def _is_fixed(self, entry: Entry, model: str | None) -> bool:
        """Whether a model is pinned, and so makes room for nobody but another load of the same one."""
        return entry.need.model != model and entry.need.model in self._pinned()

    def _held(self, entry: Entry, name: str) -> str:
        words = ["in use" if entry.users else "idle"] + ["pinned"] * self._is_fixed(entry, None)
        size = "" if name == entry.need.place else f"{gib(entry.charge[name])}, "
        return f"'{escape(entry.need.key, limit=200)}' ({size}{', '.join(words)})"


def gib(size: int) -> str:
    """Bytes for people, in GiB with one decimal; what is smaller in MiB."""
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.1f} MiB"
