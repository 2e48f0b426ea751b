"""Devices that a test makes up, since machines that run tests have no GPUs."""

from __future__ import annotations

from studio_worker.engines.devices import Device
from studio_worker.machine import GIB


class FakeDevices:
    """A `DeviceProvider` over a list that tests change: ``FakeDevices(ram_gib=16, gpus_gib=(12, 8))``.

    Attributes:
        there: the devices of the moment.
        asked: how often it was asked.
    """

    def __init__(self, ram_gib: int = 16, gpus_gib: tuple[int, ...] = ()) -> None:
        gpus = [Device(f"cuda:{index}", f"Fake GPU {index}", size * GIB) for index, size in enumerate(gpus_gib)]
        self.there = [Device("cpu", "Fake CPU", ram_gib * GIB), *gpus]
        self.asked = 0

    def devices(self) -> tuple[Device, ...]:
        """What is there now."""
        self.asked += 1
        return tuple(self.there)

    def lose(self, device_id: str) -> None:
        """Take a device away."""
        self.there = [device for device in self.there if device.id != device_id]
