"""An engine with a process for each device that its jobs are given, so that none sees another's GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from studio_worker.engines.base import EngineJob, Estimate
from studio_worker.engines.output import EngineOutput
from studio_worker.engines.process_runner import ProcessRunner
from studio_worker.engines.restarts import Restarts
from studio_worker.engines.working import ChunkCallback
from studio_worker.models.files import ModelFiles


class DeviceRunner:
    """Runs each job in the process of its device, which the model's options name.

    Args:
        make: makes the runner of a device.
        place: the device in whose process a job runs, by the device that it asks for.
    """

    def __init__(self, make: Callable[[str | None], ProcessRunner], place: Callable[[str | None], str | None]) -> None:
        self._make = make
        self._place = place
        self._runners: dict[str | None, ProcessRunner] = {}

    @property
    def restarts(self) -> tuple[Restarts, ...]:
        """How it stands with each process that a device has had."""
        return tuple(runner.restarts for runner in self._runners.values())

    async def run(self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None = None) -> EngineOutput:
        """Run the job in its device's process."""
        return await self._at(model.options.device).run(job, model, on_chunk)

    def give_up(self, job_id: str, why: str) -> None:
        """The job's end speaks against the engine; only the process that runs it cares."""
        for runner in self._runners.values():
            runner.give_up(job_id, why)

    async def estimate(self, model: ModelFiles) -> Estimate | None:
        """What the engine says in the process of the model's device."""
        return await self._at(model.options.device).estimate(model)

    async def unload(self, device: str | None = None) -> bool:
        """End the process of a device unless a job uses it, those of all devices where none is named."""
        chosen = [runner for at, runner in self._runners.items() if device is None or at == device]
        return all(await asyncio.gather(*(runner.unload() for runner in chosen)))

    async def stop(self) -> bool:
        """End the processes of all devices, whatever runs."""
        return all(await asyncio.gather(*(runner.stop() for runner in self._runners.values())))

    async def aclose(self, grace_secs: float) -> None:
        """Ask every run to stop, then end the processes."""
        await asyncio.gather(*(runner.aclose(grace_secs) for runner in self._runners.values()))

    def _at(self, device: str | None) -> ProcessRunner:
        place = self._place(device)
        found = self._runners.get(place)
        if found is None:
            found = self._runners[place] = self._make(place)
        return found
