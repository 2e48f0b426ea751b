"""A device and room for a job's model before its engine runs: what it needs, whom it displaces, who is told.

The work task is the only caller, in this order: the model's files, what they need, a device, a lease on the memory, the
device's turn, the run. Whoever has the turn waits for nothing more, so nobody waits for ever. What has to go first is
unloaded here; the process of the job itself drops its last model when it loads the next.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from studio_worker.engines.base import Estimate
from studio_worker.engines.device_turns import DeviceTurns
from studio_worker.engines.devices import Device, Devices
from studio_worker.engines.job_watch import Held
from studio_worker.engines.process_runner import EngineKey
from studio_worker.engines.router import Route
from studio_worker.errors import EngineError, OutOfMemory
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles
from studio_worker.models.identity import ModelMark, mark_of
from studio_worker.models.memory_ledger import CPU, Need
from studio_worker.models.residency import Residency

MAX_KNOWN = 256
"""Models whose needs are remembered; the one asked for longest ago is forgotten."""

LOAD_BYTES_PER_SEC = 500 * 1024**2
"""What a model loads at, for the cost of loading it again: a SATA disk's pace."""

Place: TypeAlias = tuple[EngineKey, str | None]
"""What holds one model at a time: an engine's process on a device, or the engine itself in a thread."""


class EngineMemory(Protocol):
    """What admission asks of the engine host."""

    async def estimate(self, route: Route, model: ModelFiles) -> Estimate | None:
        """Bytes that the model takes once loaded, None where the engine doesn't know.

        Raises:
            EngineError: it did not answer in time, or could not.
        """
        ...

    async def unload(self, engine: EngineKey, device: str | None = None) -> bool:
        """Free what an engine without a job holds on a device; whether it is free now."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """Where a job runs.

    Attributes:
        model: its model, with the device that it was given in the options.
        size_bytes: of the model's files.
        loaded: to be told when the model is loaded, and what is held for it.
    """

    model: ModelFiles
    size_bytes: int
    loaded: Callable[[Held], None]


class Admission:
    """Admits jobs. A plain object of the loop.

    Args:
        host: knows what models need, and unloads them.
        residency: knows what is loaded, and how much may be.
        devices: the devices of the worker.
    """

    def __init__(self, host: EngineMemory, residency: Residency, devices: Devices) -> None:
        self._host = host
        self._residency = residency
        self._devices = devices
        self._turns = DeviceTurns()
        self._said: OrderedDict[str, Estimate | None] = OrderedDict()
        self._loaded: dict[Place, str] = {}

    @asynccontextmanager
    async def room(self, route: Route, model: ModelFiles) -> AsyncIterator[Room]:
        """Hold a device, and room for a model on it, while the block runs; waits its turn where others have them.

        Engines on the event loop have neither, and where no device is known nothing is counted. Nor is anything for a
        model without files, unless it may run on a GPU.

        Raises:
            EngineError: the device that the model's options name is not here.
            OutOfMemory: it can never fit, or what was to make room could not be unloaded.
        """
        is_counted = self._is_counted(route, model)
        if not is_counted and not model.files:
            yield Room(model, 0, _uncounted)
            return
        # Only a model with files has anything to read for its mark.
        mark = await asyncio.to_thread(mark_of, model) if model.files else mark_of(model)
        if not is_counted:
            yield Room(model, mark.size_bytes, _uncounted)
            return
        async with AsyncExitStack() as stack:
            said = await self._estimate(route, model, mark)
            candidates = self._candidates(route, model, said)
            device = model.options.device
            if candidates:
                device = self._given(stack, route, mark, candidates)
                model = replace(model, options=replace(model.options, device=device))
            key = _key(route, model.id, mark, device)
            need = self._need(route, key, mark, device, said)
            loaded = await stack.enter_async_context(self._admitted(need, self._place(route, device)))
            if candidates and device != CPU:
                await stack.enter_async_context(self._turns.hold(device or "", key, route.engine.concurrency))
            yield Room(model, mark.size_bytes, loaded)

    def ended(self, engine: EngineKey, device: str | None) -> None:
        """What an engine held on a device is free: its process is gone, or it has unloaded what nobody used."""
        if (key := self._loaded.pop((engine, device), None)) is not None:
            self._residency.gone(key)

    def _is_counted(self, route: Route, model: ModelFiles) -> bool:
        if route.engine.isolation == "loop" or not self._devices.known:
            return False
        may_use_gpu = route.engine.isolation == "process" or model.options.device is not None
        return bool(model.files) or (may_use_gpu and bool(self._devices.gpus))

    async def _estimate(self, route: Route, model: ModelFiles, mark: ModelMark) -> Estimate | None:
        """What the engine says of a model, asked until it answers; it is not asked about one without files."""
        if not model.files:
            return None
        known = f"{route.engine.key} {mark.identity}"
        if known not in self._said:
            named = model.options.device
            first = next(iter(self._devices.named(named)), None) if named is not None else None
            device = named if first is None else first.id
            asked = replace(model, options=replace(model.options, device=device))
            try:
                self._said[known] = await self._host.estimate(route, asked)
            except EngineError as problem:
                # Not an answer: the next job asks again.
                logger.bind(event="engine.estimate", engine=route.engine.name, reason=str(problem)).warning(
                    "An engine did not say what a model takes"
                )
                return None
            if len(self._said) > MAX_KNOWN:
                self._said.popitem(last=False)
        self._said.move_to_end(known)
        return self._said[known]

    def _candidates(self, route: Route, model: ModelFiles, said: Estimate | None) -> tuple[Device, ...]:
        """The devices of which the job gets one; none where the engine is to see what is here and decide."""
        if model.options.device is not None:
            return self._devices.named(model.options.device)
        decides = route.engine.isolation == "thread" or (said is not None and not said.vram_bytes)
        return () if decides else self._devices.gpus

    def _given(self, stack: AsyncExitStack, route: Route, mark: ModelMark, candidates: tuple[Device, ...]) -> str:
        """The id of the device that the job has until the stack is closed."""
        warm: set[str] = set()
        held: dict[str, int] = {}
        if len(candidates) > 1:
            for resident in self._residency.residents:
                held[resident.device] = held.get(resident.device, 0) + resident.vram_bytes
            for device in candidates:
                loaded = self._loaded.get(self._place(route, device.id), "")
                if loaded.endswith(_suffix(route, mark, device.id)):
                    warm.add(device.id)
        lease = self._devices.hand_out(candidates, warm=warm, held=held)
        stack.callback(lease.give_back)
        return lease.device.id

    def _place(self, route: Route, device: str | None) -> Place:
        is_process = route.engine.isolation == "process"
        return route.engine.key, self._devices.place(device) if is_process else None

    def _need(self, route: Route, key: str, mark: ModelMark, device: str | None, said: Estimate | None) -> Need:
        said = said or Estimate(ram_bytes=mark.size_bytes)
        # What is no device of ours (another maker's GPU, say) is the engine's business; its memory is not counted.
        is_known = any(each.id == device for each in self._devices.known)
        return Need(
            key=key,
            engine=route.engine.name,
            device=device if device is not None and is_known else CPU,
            ram_bytes=said.ram_bytes,
            vram_bytes=said.vram_bytes,
            reload_secs=mark.size_bytes / LOAD_BYTES_PER_SEC,
            place=str(self._place(route, device)),
        )

    @asynccontextmanager
    async def _admitted(self, need: Need, place: Place) -> AsyncIterator[Callable[[Held], None]]:
        """A lease on the memory; what is yielded takes what was measured once the model is loaded."""
        await self._relieve()
        is_loaded = False

        def loaded(held: Held) -> None:
            nonlocal is_loaded
            is_loaded = True
            self._loaded[place] = need.key
            ram = need.ram_bytes if held.ram_bytes is None else held.ram_bytes
            vram = need.vram_bytes if held.vram_bytes is None else held.vram_bytes
            self._residency.measured(need.key, ram, vram)

        async with self._residency.admit(need) as lease:
            for key in lease.evict:
                await self._evict(key, keeping=place)
            self._loaded[place] = need.key
            try:
                yield loaded
            finally:
                if not is_loaded and not lease.is_shared:
                    # Its load failed, or it never came to that.
                    self.ended(*place)

    async def _relieve(self) -> None:
        """Unload idle models where more is held than there is: one turned out larger, or a device is gone."""
        for key in self._residency.surplus():
            with self._residency.retire(key) as may_go:
                if may_go:
                    await self._evict(key)

    async def _evict(self, key: str, keeping: Place | None = None) -> None:
        """Unload a model; one of the place `keeping` goes when the next is loaded there."""
        place = next((place for place, loaded in self._loaded.items() if loaded == key), None)
        if place is not None and place != keeping:
            if not await self._host.unload(*place):
                raise OutOfMemory(f"the engine of model '{key}' kept its memory; another try may find it free")
            logger.bind(event="jobs.evicted", model=key).info("A model made room for another")
        if place is not None:
            self._loaded.pop(place, None)
        self._residency.gone(key)


def _uncounted(held: Held) -> None:
    """A model that takes nothing which is counted."""


def _key(route: Route, model_id: str, mark: ModelMark, device: str | None) -> str:
    """The model by its id, and by what tells two loads of it apart."""
    return f"{model_id}{_suffix(route, mark, device)}"


def _suffix(route: Route, mark: ModelMark, device: str | None) -> str:
    text = "\0".join([str(route.engine.key), mark.identity, str(device)])
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:8]}"
