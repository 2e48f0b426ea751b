"""What this machine is: its name, its user, its graphics memory. Probing may block; call it in a thread."""

from __future__ import annotations

import asyncio
import getpass
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio_worker.log import logger
from studio_worker.lookout import Lookout

GIB = 1024**3
PROBE_SECS = 5.0
"""How long the look at the machine may take; a driver that hangs must not hold up the start."""

UNIFIED_SHARE = 0.75
"""Share of a Mac's unified memory that its GPU may use; the older worker reports the same."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about a machine.

    Attributes:
        name: its name on the network.
        username: whose worker it is.
        gpus_gb: the memory of each GPU, in GiB.
        vendor: whose GPUs these are: ``nvidia``, ``amd``, ``apple``, ``none``; ``unknown`` where nobody has looked.
    """

    name: str
    username: str
    gpus_gb: tuple[float, ...] = ()
    vendor: str = "unknown"

    @property
    def vram_total_gb(self) -> float:
        """The largest GPU's memory in GiB, 0.0 where none is known: a job runs on one GPU, so a sum would lie."""
        return max(self.gpus_gb, default=0.0)


UNKNOWN = Machine("unknown-host", "unknown-user")
"""A machine that nobody has looked at."""


async def look_at_machine() -> Machine:
    """What `probe` finds; `UNKNOWN`, which the log tells, where it takes too long."""
    try:
        return await asyncio.wait_for(Lookout("probe").look(probe), PROBE_SECS)
    except TimeoutError:
        logger.bind(event="worker.probe").warning("The look at the machine takes too long; going on without it")
        return UNKNOWN


def probe() -> Machine:
    """Look at the machine. Never raises: what cannot be read is `unknown-host`, `unknown-user` or no GPU."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "unknown-user"
    looks = (("nvidia", _nvidia), ("amd", _amd), ("apple", _apple))
    vendor, gpus = next(((vendor, found) for vendor, look in looks if (found := look())), ("none", ()))
    return Machine(platform.node() or "unknown-host", user, gpus, vendor)


@dataclass(frozen=True, slots=True)
class NvidiaGpu:
    """One GPU as NVML tells of it; `index` is its place on the PCI bus."""

    index: int
    name: str
    total_bytes: int
    uuid: str = ""


def nvidia_gpus() -> tuple[NvidiaGpu, ...]:
    """The NVIDIA GPUs of this machine. May block. Never raises: what cannot be read is left out."""
    found = []
    with _nvml() as nvml:
        for index in range(nvml.nvmlDeviceGetCount() if nvml is not None else 0):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                name, uuid = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
                found.append(NvidiaGpu(index, str(name), int(memory.total), str(uuid)))
            except nvml.NVMLError as error:
                logger.bind(event="machine.gpu_skipped", gpu=index, error=str(error)).warning("A GPU cannot be read")
    return tuple(found)


def gpu_bytes_of(pid: int, index: int) -> int | None:
    """What a process holds of an NVIDIA GPU, in bytes. May block. Never raises: None where the driver doesn't say.

    It doesn't where the process has a process id of its own, as in most containers.
    """
    with _nvml() as nvml:
        if nvml is not None:
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index)):
                if process.pid == pid and process.usedGpuMemory is not None:
                    return int(process.usedGpuMemory)
    return None


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVIDIA's library, ready to be asked; None where there is none. An error of the driver ends the block, logged."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        logger.bind(event="machine.nvml_failed", error=str(error)).warning("The NVIDIA driver cannot be asked")
    finally:
        pynvml.nvmlShutdown()


def _nvidia() -> tuple[float, ...]:
    return tuple(gpu.total_bytes / GIB for gpu in nvidia_gpus())


def _amd(drm: Path = Path("/sys/class/drm")) -> tuple[float, ...]:
    """Every card's memory from the amdgpu driver's sysfs files; an APU's shared memory (GTT) counts with its own."""
    found = []
    for total in sorted(drm.glob("card[0-9]*/device/mem_info_vram_total")):
        try:
            size = int(total.read_text())
            shared = total.with_name("mem_info_gtt_total")
            is_small = size < 4 * GIB
            found.append((size + (int(shared.read_text()) if is_small and shared.exists() else 0)) / GIB)
        except (OSError, ValueError) as error:
            logger.bind(event="machine.gpu_skipped", gpu=str(total), error=str(error)).warning("A GPU cannot be read")
    return tuple(found)


def _apple() -> tuple[float, ...]:
    if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
        return ()
    import psutil

    return (psutil.virtual_memory().total * UNIFIED_SHARE / GIB,)
