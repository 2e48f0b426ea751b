"""The devices that models run on, and which job gets which: several GPUs run several jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.machine import GIB, nvidia_gpus
from studio_worker.models.memory_ledger import CPU

RESERVE_BYTES = GIB
"""What is left free of each device; the older worker keeps as much."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device. `id` is ``cpu`` or ``cuda:0`` …, in the order of the PCI bus; of the CPU, the memory is RAM."""

    id: str
    name: str
    total_bytes: int


class DeviceProvider(Protocol):
    """Where the devices are known from."""

    def devices(self) -> tuple[Device, ...]:
        """What is there now. May block: call it in a thread."""
        ...


class MachineDevices:
    """This machine's RAM, and its NVIDIA GPUs as NVML tells of them. Never raises: what cannot be read is left out."""

    def devices(self) -> tuple[Device, ...]:
        """The CPU first, then the GPUs by their number."""
        import psutil

        gpus = (Device(f"cuda:{gpu.index}", gpu.name, gpu.total_bytes) for gpu in nvidia_gpus())
        return (Device(CPU, "CPU", psutil.virtual_memory().total), *gpus)


class DeviceLease:
    """A job's place on a device, until `give_back`; a second `give_back` does nothing."""

    def __init__(self, device: Device, jobs: dict[str, int]) -> None:
        self.device = device
        self._jobs: dict[str, int] | None = jobs
        jobs[device.id] = jobs.get(device.id, 0) + 1

    def give_back(self) -> None:
        """The job has left the device, which may be gone by now."""
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs[self.device.id] -= 1


class Devices:
    """The devices of a worker and how many jobs each has. A plain object of the loop.

    Args:
        devices: what a `DeviceProvider` found.
    """

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self.known = devices
        self._jobs: dict[str, int] = {}

    def update(self, devices: tuple[Device, ...]) -> None:
        """What is there now. A device that is gone takes no more jobs; the others go on as before."""
        for lost in {device.id for device in self.known} - {device.id for device in devices}:
            logger.bind(event="devices.lost", device=lost).warning("A device has disappeared")
        self.known = devices

    def budget(self, reserve_bytes: int = RESERVE_BYTES) -> dict[str, int]:
        """The bytes that models may take of each device, by its id."""
        return {device.id: max(0, device.total_bytes - reserve_bytes) for device in self.known}

    def hand_out(self, engine: str, wanted: str | None, per_engine: Mapping[str, str]) -> DeviceLease:
        """A device for one job of `engine`.

        That which `per_engine` names for it, else `wanted`, else the GPU with the fewest jobs (the larger one, then
        the first, of several); the CPU where there is no GPU.

        Raises:
            EngineError: the named device is not here; the sentence names it and those that are.
        """
        name = per_engine.get(engine, wanted)
        if name is not None:
            for device in self.known:
                if device.id == name:
                    return DeviceLease(device, self._jobs)
            raise EngineError(f"engine '{engine}' is to run on {name!r}, which is not here: {self._listed()}")
        if not self.known:
            raise EngineError(f"engine '{engine}' finds no device: {self._listed()}")
        candidates = [device for device in self.known if device.id != CPU] or list(self.known)
        return DeviceLease(
            min(candidates, key=lambda device: (self._jobs.get(device.id, 0), -device.total_bytes)), self._jobs
        )

    def _listed(self) -> str:
        here = ", ".join(f"{device.id} ({device.name})" for device in self.known)
        return f"this machine has {here or 'none'}; set `device` to one of them or leave it out"
