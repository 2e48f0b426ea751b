"""Finds the devices of this machine, and says whether those that the settings name are among them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from studio_worker.engines.devices import DeviceProvider, Devices, MachineDevices
from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.lookout import Lookout

LOOK_SECS = 5.0
"""How long a look may take; a driver that hangs must not hold up the worker."""


class DeviceFinder:
    """Keeps `devices` up to date.

    Args:
        provider: where the devices are known from; this machine by default.
    """

    def __init__(self, provider: DeviceProvider | None = None) -> None:
        self._provider = provider or MachineDevices()
        self.devices = Devices()
        self._lookout = Lookout("devices")

    async def look(self) -> None:
        """See what is there. What doesn't answer in time leaves everything as it was."""
        try:
            async with asyncio.timeout(LOOK_SECS):
                self.devices.update(await self._lookout.look(self._provider.devices))
        except TimeoutError:
            logger.bind(event="devices.look").warning("The devices do not answer; going on with those that are known")

    def missing(self, named: Mapping[str, str]) -> str | None:
        """What is wrong with the devices that the settings name; None where all is well, or no device is known.

        Args:
            named: the device by the setting that names it.
        """
        for setting, device in named.items() if self.devices.known else ():
            try:
                self.devices.named(device)
            except EngineError as problem:
                return f"{setting}: {problem}"
        return None
