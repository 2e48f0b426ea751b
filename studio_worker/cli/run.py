"""`studio-worker run`: the worker as a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import click

from studio_worker.cli import output
from studio_worker.cli.event_loop import run_to_end
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.signals import SignalLadder, end_at_once, end_on_signals
from studio_worker.local_api.control import DaemonControl


class RunnableWorker(DaemonControl, Protocol):
    """What `run` needs of a worker."""

    async def __aenter__(self) -> Self:
        """Start it."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        """Stop it at once."""
        ...

    def keep_private(self, host: str, port: int) -> None:
        """Keep jobs away from a listener of this process."""
        ...

    async def run(self) -> None:
        """Work until it is stopped; raises what ended it."""
        ...

    async def drain(self) -> None:
        """Take no more jobs, finish those that run, deliver, stop."""
        ...

    async def abandon(self) -> None:
        """Cancel what runs, report it as retryable, stop."""
        ...


@click.command("run", short_help="Run the worker until it is stopped.", epilog="Example: studio-worker run")
@pass_invocation
def run_worker(invocation: Invocation) -> None:
    """Run the worker until it is stopped.

    Registers with the studio (an operator there approves it once), then takes jobs. The first SIGINT or SIGTERM lets
    running jobs finish and delivers them, a second one cancels them, a third one ends at once. Exit status: 0 clean
    stop, 69 studio out of reach, 75 already running, 77 refused by the studio, 78 settings that cannot be used.
    """
    source = invocation.settings(log_level="info")

    from studio_worker.config.folders import prepare_folders
    from studio_worker.log import hide
    from studio_worker.worker import Worker

    settings = source.current
    prepare_folders(settings)
    end_on_signals()
    worker = Worker(settings, config_source=source, announce=output.note)
    hide(worker.secrets)
    run_to_end(serve(worker, port=settings.local_api_port, discovery=invocation.discovery_file))


async def serve(worker: RunnableWorker, *, port: int, discovery: Path, end: Callable[[], None] = end_at_once) -> None:
    """Run a worker under this process's signals, its control open on loopback, until it stops.

    Args:
        worker: not yet started.
        port: of the local API.
        discovery: the file that tells where the local API is.
        end: what a third signal does.
    """
    from studio_worker.local_api.server import HOST, LocalApi

    started = asyncio.Event()
    steps: set[asyncio.Task[None]] = set()

    def step(action: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        async def taken() -> None:
            await started.wait()
            await action()

        return lambda: steps.add(asyncio.create_task(taken()))

    try:
        with SignalLadder(step(worker.drain), step(worker.abandon), end):
            async with worker:
                started.set()
                async with LocalApi(worker, port=port, discovery=discovery) as local_api:
                    worker.keep_private(HOST, local_api.port)
                    await worker.run()
    finally:
        for task in steps:
            task.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
