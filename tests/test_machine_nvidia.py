"""NVIDIA's library, asked through a stand-in that answers as the real one does."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from studio_worker import machine
from studio_worker.engines.memory_meter import MemoryMeter
from studio_worker.machine import GIB, NvidiaGpu

PID = 4711


class Nvml:
    """As `pynvml`: two GPUs, of which `broken` cannot be read; `jobs` holds what processes have of each."""

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.broken: set[int] = set()
        self.is_there = True
        self.is_lost = False
        self.opened = 0
        self.jobs: dict[int, list[SimpleNamespace]] = {0: [], 1: []}

    def nvmlInit(self):
        if not self.is_there:
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetCount(self):
        if self.is_lost:
            raise self.NVMLError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        if index in self.broken or self.is_lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=(handle + 1) * GIB)

    def nvmlDeviceGetName(self, handle):
        return f"Card {handle}"

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.jobs[handle]


@pytest.fixture
def nvml(monkeypatch):
    found = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", found)
    yield found
    assert found.opened == 0


def test_every_gpu_is_told_with_its_place_name_memory_and_uuid(nvml):
    assert machine.nvidia_gpus() == (NvidiaGpu(0, "Card 0", GIB, "GPU-0"), NvidiaGpu(1, "Card 1", 2 * GIB, "GPU-1"))


def test_a_gpu_that_cannot_be_read_is_left_out_and_keeps_its_number(nvml, caplines):
    nvml.broken.add(0)
    assert [gpu.index for gpu in machine.nvidia_gpus()] == [1]
    assert [line["gpu"] for line in caplines if line["event"] == "machine.gpu_skipped"] == [0]


@pytest.mark.parametrize("state", ["is_there", "is_lost"])
def test_a_driver_that_fails_has_no_gpus(state, nvml):
    setattr(nvml, state, state == "is_lost")
    assert machine.nvidia_gpus() == ()
    assert machine.gpu_bytes_of(PID, 0) is None


def test_a_process_is_found_among_those_of_its_gpu(nvml):
    nvml.jobs[1] = [SimpleNamespace(pid=1, usedGpuMemory=7), SimpleNamespace(pid=PID, usedGpuMemory=GIB)]
    assert machine.gpu_bytes_of(PID, 1) == GIB
    assert machine.gpu_bytes_of(PID, 0) is None


def test_where_the_driver_does_not_say_what_a_process_holds_nobody_knows(nvml):
    nvml.jobs[0] = [SimpleNamespace(pid=PID, usedGpuMemory=None)]
    assert machine.gpu_bytes_of(PID, 0) is None


# the meter of an engine's process


@pytest.mark.parametrize(("device", "held"), [("cuda:1", 3 * GIB), ("cuda:0", None), ("cpu", None), (None, None)])
def test_a_meter_looks_at_its_own_gpu(device, held, nvml):
    nvml.jobs[1] = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=3 * GIB)]
    assert MemoryMeter(device).read()[1] == held


METERED = """
from studio_worker.engines.memory_meter import MemoryMeter

meter = MemoryMeter(None)
kept = bytearray(b"x" * 50_000_000)
print(*meter.read())
"""


def test_a_meter_counts_what_has_come_since_it_was_made():
    # In a process of its own, as an engine's is: this one gives memory of earlier tests back at any moment.
    said = subprocess.run(
        [sys.executable, "-c", METERED], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    ram, vram = said.split()
    assert int(ram) > 50_000_000 * 0.9
    assert vram == "None"
