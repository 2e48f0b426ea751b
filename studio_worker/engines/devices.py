"""The devices that models run on, and which job gets which: several GPUs run several jobs."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.machine import GIB, NvidiaGpu, nvidia_gpus
from studio_worker.models.memory_ledger import CPU
from studio_worker.text import escape

RESERVE_BYTES = GIB
"""What is left free of each device; the older worker keeps as much."""

ANY_GPU = "cuda"
"""Asks for one of the NVIDIA GPUs, whichever."""

UNLISTED = frozenset({"coreml", "directml", "dml", "hip", "metal", "mps", "rocm", "vulkan", "xpu"})
"""Kinds of devices that engines know and this worker does not list: it hands the name on and counts nothing of them."""


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
    """This machine's RAM, and its NVIDIA GPUs as NVML tells of them. Never raises: what cannot be read is left out.

    Where the worker was started with CUDA_VISIBLE_DEVICES only those GPUs count, under the numbers that they have on
    the PCI bus.
    """

    def devices(self) -> tuple[Device, ...]:
        """The CPU first, then the GPUs by their number."""
        import psutil

        seen = visible(nvidia_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        gpus = (Device(f"cuda:{gpu.index}", gpu.name, gpu.total_bytes) for gpu in seen)
        return (Device(CPU, "CPU", psutil.virtual_memory().total), *gpus)


def visible(gpus: Sequence[NvidiaGpu], setting: str | None) -> tuple[NvidiaGpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in the order of the bus.

    Args:
        gpus: all there are.
        setting: numbers or UUIDs (their beginning is enough), by commas; as CUDA does, what comes after one that is
            not there is left out. None: not set.
    """
    if setting is None:
        return tuple(gpus)
    chosen = set()
    for entry in (part.strip() for part in setting.split(",")):
        found = [
            gpu for gpu in gpus if entry == str(gpu.index) or (entry.startswith("GPU-") and gpu.uuid.startswith(entry))
        ]
        if not found:
            break
        chosen.add(found[0])
    return tuple(gpu for gpu in gpus if gpu in chosen)


def variables(device: str | None) -> dict[str, str]:
    """What an engine's process has in its environment, so that it sees its own device and no other GPU."""
    kind, _, number = (device or "").partition(":")
    if kind == CPU:
        return {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1"}
    if kind == ANY_GPU and number:
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": number}
    return {}


def seen_as(device: str | None) -> str | None:
    """What a device is called in a process that has `variables` of it: the only GPU is the first one."""
    return "cuda:0" if device is not None and device.startswith("cuda:") else device


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
        devices: what a `DeviceProvider` found; empty where nobody could look.
    """

    def __init__(self, devices: tuple[Device, ...] = ()) -> None:
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

    @property
    def gpus(self) -> tuple[Device, ...]:
        """The devices that one job at a time has to itself."""
        return tuple(device for device in self.known if device.id != CPU)

    @property
    def home(self) -> str | None:
        """Where an engine's process lives that was given no device: with the largest GPU, the first of several.

        None without GPUs. Its next job is likely to be given that one, so one process serves both.
        """
        return max(self.gpus, key=lambda device: device.total_bytes).id if self.gpus else None

    def place(self, device: str | None) -> str | None:
        """The device in whose process a job runs: its own, else `home`."""
        return self.home if device is None else device

    def named(self, name: str) -> tuple[Device, ...]:
        """The devices of which a job that asks for `name` gets one; none for a kind that is not listed here.

        Raises:
            EngineError: no such device is here; the sentence names it and those that are.
        """
        if name.partition(":")[0] in UNLISTED:
            return ()
        found = tuple(device for device in self.known if device.id == name or (name == ANY_GPU and device.id != CPU))
        if not found:
            raise EngineError(
                f"the device '{escape(name, limit=80)}' is not here: {self._listed()}; "
                "set `device` to one of them or leave it out"
            )
        return found

    def hand_out(
        self, candidates: Sequence[Device], *, warm: Collection[str] = (), held: Mapping[str, int] | None = None
    ) -> DeviceLease:
        """One of `candidates` for one job, until the lease is given back.

        That with the fewest jobs; of several the one where the model is loaded, then the one where the least is held,
        then the largest, then the first.

        Args:
            candidates: at least one device.
            warm: the devices where the job's model is loaded.
            held: bytes that models hold, by device.
        """
        taken = held or {}
        return DeviceLease(
            min(
                candidates,
                key=lambda device: (
                    self._jobs.get(device.id, 0),
                    device.id not in warm,
                    taken.get(device.id, 0),
                    -device.total_bytes,
                ),
            ),
            self._jobs,
        )

    def _listed(self) -> str:
        here = ", ".join(f"{device.id} ({escape(device.name, limit=80)})" for device in self.known)
        return f"this machine has {here or 'none'}"
