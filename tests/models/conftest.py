"""A clock that only tests move, and jobs that hold a lease until a test ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from studio_worker.models.ledger import Ledger
from studio_worker.models.residency import Lease, Need, Residency

from .hub import Hub, serve

MIB = 1024**2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A models folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder, which is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:
    """The memory of `state`."""
    made = Ledger.of(state)
    yield made
    made.close()


class HeldClock:
    def __init__(self) -> None:
        self.secs = 1_000.0

    def monotonic(self) -> float:
        return self.secs

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.secs)

    async def sleep(self, secs: float) -> None:
        raise AssertionError(f"somebody sleeps {secs} s on a clock that stands still")


class Job:
    """One job: asks for its model, does with the lease what a host would, and holds it until `end`."""

    def __init__(self, house: House, need: Need, *, obeys: bool = True) -> None:
        self.need = need
        self.lease: Lease | None = None
        self._ended = asyncio.Event()
        self._house = house
        self._obeys = obeys
        self.task = asyncio.ensure_future(self._run())

    @property
    def is_running(self) -> bool:
        return self.lease is not None and not self.task.done()

    async def _run(self) -> None:
        async with self._house.residency.admit(self.need) as lease:
            self.lease = lease
            self._house.granted.append(self.need.key)
            if self._obeys:
                for key in lease.evict:
                    self._house.unloaded.append(key)
                    self._house.residency.gone(key)
            if not lease.is_shared:
                self._house.loads.append(self.need.key)
            await self._ended.wait()

    async def end(self) -> None:
        self._ended.set()
        await self.task
        await settle()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await settle()

    @property
    def error(self) -> str:
        return str(self.task.exception())


class House:
    """A residency with a budget in MiB, and what its jobs have done."""

    def __init__(self, **budget: int) -> None:
        self.clock = HeldClock()
        self.budget = {name.replace("_", ":"): size * MIB for name, size in budget.items()}
        self.pinned: tuple[str, ...] = ()
        self.residency = Residency(lambda: self.budget, clock=self.clock, patience_secs=60, pinned=lambda: self.pinned)
        self.granted: list[str] = []
        self.loads: list[str] = []
        self.unloaded: list[str] = []
        self._jobs: list[Job] = []

    async def job(self, key: str, mib: int = 10, *, obeys: bool = True, **fields: Any) -> Job:
        """A job whose model takes `mib` of RAM, or of the device's memory where `device` is given."""
        sizes = {"vram_bytes" if "device" in fields else "ram_bytes": mib * MIB}
        job = Job(self, Need(key=key, engine="toy", **{**sizes, **fields}), obeys=obeys)
        self._jobs.append(job)
        await settle()
        return job

    async def used(self, key: str, mib: int = 10, **fields: Any) -> None:
        """A job that came and went: its model is loaded and idle."""
        await (await self.job(key, mib, **fields)).end()

    @property
    def keys(self) -> list[str]:
        return sorted(resident.key for resident in self.residency.residents)

    @staticmethod
    async def settle() -> None:
        await settle()

    async def close(self) -> None:
        for job in self._jobs:
            job.task.cancel()
        await asyncio.gather(*(job.task for job in self._jobs), return_exceptions=True)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def open_house():
    houses = []

    def make(**budget: int) -> House:
        houses.append(House(**budget))
        return houses[-1]

    yield make
    for house in houses:
        await house.close()


@pytest.fixture
def one_slot(open_house):
    """Room for one model of 10 MiB."""
    return open_house(cpu=10)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    runner = await serve(made)
    yield made
    await runner.cleanup()
