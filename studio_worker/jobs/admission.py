"""Room for a job's model before its engine runs: what it needs, whom it displaces, who is told.

The work task is the only caller, in this order: the model's files, what they need, a lease, the run. What has to go
first is unloaded here; the engine of the job itself drops its last model when it loads the next.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from typing import Protocol

from studio_worker.engines.base import Estimate
from studio_worker.engines.process_runner import EngineKey
from studio_worker.engines.router import Route
from studio_worker.errors import OutOfMemory
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles
from studio_worker.models.memory_ledger import CPU, Need
from studio_worker.models.residency import Residency

MAX_KNOWN = 256
"""Models whose needs are remembered; the one asked for longest ago is forgotten."""

LOAD_BYTES_PER_SEC = 500 * 1024**2
"""What a model loads at, for the cost of loading it again: a SATA disk's pace."""


class EngineMemory(Protocol):
    """What admission asks of the engine host."""

    async def estimate(self, route: Route, model: ModelFiles) -> Estimate | None:
        """Bytes that the model takes once loaded, None where the engine doesn't say."""
        ...

    async def unload(self, engine: EngineKey) -> bool:
        """Free what an engine without a job holds; whether it is free now."""
        ...


class Admission:
    """Admits models. A plain object of the loop.

    Args:
        host: knows what models need, and unloads them.
        residency: knows what is loaded, and how much may be.
        devices: the ids of the devices whose memory is known.
    """

    def __init__(self, host: EngineMemory, residency: Residency, devices: Callable[[], Container[str]]) -> None:
        self._devices = devices
        self._host = host
        self._residency = residency
        self._known: OrderedDict[str, Need] = OrderedDict()
        self._loaded: dict[EngineKey, str] = {}

    @asynccontextmanager
    async def room(self, route: Route, model: ModelFiles) -> AsyncIterator[None]:
        """Hold room for a model while the block runs; waits its turn where others use the memory.

        Engines on the event loop and models without files need none; nor is any counted where no device is known.

        Raises:
            OutOfMemory: it can never fit, or what was to make room could not be unloaded.
        """
        engine = route.engine
        if engine.isolation == "loop" or not model.files or CPU not in self._devices():
            yield
            return
        need = await self._need(route, model)
        async with self._residency.admit(need) as lease:
            for key in lease.evict:
                await self._evict(key)
            last = self._loaded.get(engine.key)
            if last is not None and last != need.key:
                self._residency.gone(last)
            self._loaded[engine.key] = need.key
            yield

    def ended(self, engine: EngineKey) -> None:
        """The process of an engine is gone, and its model with it."""
        if (key := self._loaded.pop(engine, None)) is not None:
            self._residency.gone(key)

    async def _need(self, route: Route, model: ModelFiles) -> Need:
        key = _key(route, model)
        # What is no device of ours (another maker's GPU, say) is the engine's business; its memory is not counted.
        asked = model.options.device
        device = asked if asked is not None and asked in self._devices() else CPU
        known = self._known.get(key)
        if known is None:
            size = await asyncio.to_thread(model_bytes, model)
            said = await self._host.estimate(route, model) or Estimate(ram_bytes=size)
            known = Need(
                key=key,
                engine=route.engine.name,
                device=device,
                ram_bytes=said.ram_bytes,
                vram_bytes=said.vram_bytes,
                reload_secs=size / LOAD_BYTES_PER_SEC,
            )
            self._known[key] = known
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return known

    async def _evict(self, key: str) -> None:
        engine = next((engine for engine, loaded in self._loaded.items() if loaded == key), None)
        if engine is not None:
            if not await self._host.unload(engine):
                raise OutOfMemory(f"the engine of model '{key}' kept its memory; another try may find it free")
            self._loaded.pop(engine, None)
            logger.bind(event="jobs.evicted", model=key).info("A model made room for another")
        self._residency.gone(key)


def model_bytes(model: ModelFiles) -> int:
    """Bytes of a model's files; looks at each, so it belongs in a thread. Raises OSError."""
    return sum(path.stat().st_size for paths in model.files.values() for path in paths)


def _key(route: Route, model: ModelFiles) -> str:
    """The model by its id, and by what tells two loads of it apart."""
    files = [f"{role}={path}" for role, paths in model.files.items() for path in paths]
    mark = hashlib.sha256("\0".join([route.engine.name, *files, repr(model.options)]).encode()).hexdigest()
    return f"{model.id}#{mark[:8]}"
