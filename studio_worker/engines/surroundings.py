"""Whether the machine has what engines need of it, and what to do where it has not."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.device_finder import DeviceFinder
from studio_worker.engines.devices import Devices
from studio_worker.engines.needs import PLATFORMS, Needs
from studio_worker.machine import GIB, Machine, look_at_machine
from studio_worker.models.memory_ledger import CPU
from studio_worker.text import escape

VENDORS = {"nvidia": "an NVIDIA GPU", "amd": "an AMD GPU", "apple": "an Apple GPU", "any": "a GPU"}

SLACK_BYTES = GIB // 4
"""A card that is sold with 8 GiB shows a little less."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    vendor: str
    name: str
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine, as far as it is known. What is not known keeps no engine back.

    Attributes:
        platform: as `sys.platform` calls it.
        ram_bytes: the machine's memory; None: not known.
        gpus: all there are; None: not known.
    """

    platform: str
    ram_bytes: int | None
    gpus: tuple[Gpu, ...] | None

    @classmethod
    def unknown(cls) -> Surroundings:
        """A machine that nobody has looked at."""
        return cls(sys.platform, None, None)

    @classmethod
    def of(cls, machine: Machine, devices: Devices, platform: str = sys.platform) -> Surroundings:
        """What a look at the machine and its devices has found."""
        ram = next((device.total_bytes for device in devices.known if device.id == CPU), None)
        gpus = [Gpu("nvidia", device.name, device.total_bytes) for device in devices.gpus]
        if machine.vendor in ("amd", "apple"):
            gpus += [Gpu(machine.vendor, VENDORS[machine.vendor], int(size * GIB)) for size in machine.gpus_gb]
        is_known = bool(devices.known) and machine.vendor != "unknown"
        return cls(platform, ram, tuple(gpus) if gpus or is_known else None)


async def look_around() -> Surroundings:
    """This machine; what does not answer within five seconds is not known."""
    finder = DeviceFinder()
    await finder.look()
    return Surroundings.of(await look_at_machine(), finder.devices)


def meet(engines: Iterable[EngineDescription], around: Surroundings) -> tuple[EngineDescription, ...]:
    """The same engines, with those unavailable whose needs are not met here, each with the reason and the remedy."""
    return tuple(_met(engine, around) for engine in engines)


def _met(engine: EngineDescription, around: Surroundings) -> EngineDescription:
    if engine.needs is None or engine.status != "available" or (missing := lack(engine.needs, around)) is None:
        return engine
    reason, remedy = missing
    return replace(engine, status="unavailable", reason=reason, remedy=remedy)


def lack(needs: Needs, around: Surroundings) -> tuple[str, str] | None:
    """What of the needs is not there, and the remedy; None where all is, or where nobody can tell."""
    if needs.platforms and around.platform not in needs.platforms:
        wanted = " or ".join(PLATFORMS.get(name, name) for name in needs.platforms)
        here = PLATFORMS.get(around.platform, around.platform)
        return f"it runs on {wanted}, this is {here}", f"run it on a machine with {wanted}"
    if around.ram_bytes is not None and around.ram_bytes + SLACK_BYTES < needs.ram_bytes:
        return (
            f"it needs {_gib(needs.ram_bytes)} of memory, this machine has {_gib(around.ram_bytes)}",
            "run it on a machine with more memory",
        )
    return _lacking_gpu(needs, around)


def _lacking_gpu(needs: Needs, around: Surroundings) -> tuple[str, str] | None:
    vendor = needs.gpu or ("any" if needs.vram_bytes else None)
    if vendor is None or around.gpus is None:
        return None
    wanted = VENDORS[vendor]
    fitting = [gpu for gpu in around.gpus if vendor in ("any", gpu.vendor)]
    if not fitting:
        others = ", ".join(escape(gpu.name, limit=80) for gpu in around.gpus)
        remedy = "see that its driver is installed and running, or run the engine on a machine that has one"
        return f"it needs {wanted}, and this machine has {others or 'none'}", remedy
    largest = max(fitting, key=lambda gpu: gpu.total_bytes)
    if largest.total_bytes + SLACK_BYTES < needs.vram_bytes:
        name = escape(largest.name, limit=80)
        return (
            f"it needs {wanted} with {_gib(needs.vram_bytes)}; the largest, {name}, has {_gib(largest.total_bytes)}",
            "run it on a machine with a larger GPU",
        )
    return None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
