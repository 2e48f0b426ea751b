"""Everything about jobs, put together: the one object that a worker makes of this room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, Protocol

from studio_worker.clock import Clock
from studio_worker.engines.host import Host
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.router import Routes
from studio_worker.events import EventSink
from studio_worker.jobs.admission import Admission
from studio_worker.jobs.chronicle import Chronicle, in_a_moment
from studio_worker.jobs.delivery import Bounds, Delivery
from studio_worker.jobs.desk import Desk, DeskSettings
from studio_worker.jobs.execution import LIMITS, Execution, ModelStore
from studio_worker.jobs.inputs import InputFetcher
from studio_worker.jobs.journal import Journal
from studio_worker.jobs.progress import INTERVAL_SECS
from studio_worker.jobs.retrying import Uploads
from studio_worker.jobs.stage_limits import StageLimits
from studio_worker.jobs.weighing import RoomStore
from studio_worker.jobs.work_dirs import WorkDirs
from studio_worker.log import LogSink, logger


class JobStore(ModelStore, RoomStore, Protocol):
    """What jobs ask of the model store: room before they are accepted, and their files afterwards."""


UPKEEP_SECS = 3600.0
"""Between two looks for results that are too old to be delivered."""


class Jobs:
    """The jobs of one worker.

    Attributes:
        desk: takes offers and local orders.
        delivery: told of acknowledgements and welcomes.

    Args:
        settings: the operator's settings of this moment.
        routes: the engines of this moment.
        host: where engines run.
        store: where models lie.
        fetcher: how inputs come.
        journal: what is owed; opened and closed by `run`.
        upload: sends one binary result once.
        events: takes what happens.
        logs: takes the lines that the studio sees.
        clock: time.
        rng: seeds and jitter.
        state_dir: the worker's state folder; jobs work in ``work`` under it.
        admission: finds room for models.
        quarantine: knows which engines are not to run which models now.
        signed_out: called when an upload finds the token refused, for the session to ask.
        bounds: how much may wait for its delivery.
        limits: what each stage of a job may take.
        progress_secs: the least time between two progress frames of a job.
    """

    def __init__(
        self,
        *,
        settings: Callable[[], DeskSettings],
        routes: Callable[[], Routes],
        host: Host,
        store: JobStore,
        fetcher: InputFetcher,
        journal: Journal,
        upload: Uploads,
        events: EventSink,
        logs: LogSink,
        clock: Clock,
        rng: Random,
        state_dir: Path,
        admission: Admission,
        quarantine: Quarantine,
        signed_out: Callable[[], None] = lambda: None,
        bounds: Bounds | None = None,
        limits: StageLimits = LIMITS,
        progress_secs: float = INTERVAL_SECS,
    ) -> None:
        self._chronicle = chronicle = Chronicle(events, logs, clock, soon=in_a_moment)
        self._journal = journal
        self._work_dirs = WorkDirs(state_dir / "work")
        self._group: asyncio.TaskGroup | None = None
        self._ready = asyncio.Event()
        self.delivery = Delivery(
            journal=journal,
            uploads=upload,
            start=self._start,
            chronicle=chronicle,
            clock=clock,
            rng=rng,
            signed_out=signed_out,
            bounds=bounds,
        )
        execution = Execution(
            host=host,
            store=store,
            fetcher=fetcher,
            journal=journal,
            delivery=self.delivery,
            chronicle=chronicle,
            work_dirs=self._work_dirs,
            clock=clock,
            admission=admission,
            quarantine=quarantine,
            limits=limits,
            progress_secs=progress_secs,
        )
        self.desk = Desk(
            settings=settings,
            routes=routes,
            execution=execution,
            delivery=self.delivery,
            journal=journal,
            store=store,
            chronicle=chronicle,
            start=self._start,
            quarantine=quarantine,
            clock=clock,
            rng=rng,
        )

    @property
    def note(self) -> str:
        """What an operator should know of the journal although all goes on; mostly nothing."""
        return self._journal.note

    async def ready(self) -> None:
        """Return once `run` has made the folders ready; offers and orders may come from then on."""
        await self._ready.wait()

    async def recall(self, worker_id: str) -> None:
        """Take over what an earlier process of this worker still owes, before the first session (protocol section 5).

        Nothing is said unasked but the first upload of a kept binary result.
        """
        recalled = await self._journal.recall(worker_id)
        for each in recalled:
            self.delivery.restore(each.kept, is_unsent=each.is_unsent)
        if recalled:
            logger.bind(event="jobs.recalled", results=len(recalled)).info("Results are owed from an earlier process")

    def tell(self) -> None:
        """Tell at once what has happened to jobs, before somebody stops listening."""
        self._chronicle.tell()

    async def run(self) -> None:
        """Own the tasks of all jobs and deliveries until cancelled; then end them, and clean up.

        Raises:
            OSError: the state folder cannot be used.
            StudioWorkerError: the journal's own work has ended.
        """
        try:
            await self._work_dirs.open()
            await self._journal.open()
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._ready.set()
                try:
                    await self._live()
                finally:
                    self.desk.close()
        finally:
            self._group = None
            self.tell()
            try:
                await self._journal.aclose()
            finally:
                await self._work_dirs.aclose()

    async def _live(self) -> None:
        while True:
            try:
                async with asyncio.timeout(UPKEEP_SECS) as pause:
                    await self._journal.live()
            except TimeoutError:
                if not pause.expired():
                    raise
            self.delivery.give_up_old()

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise RuntimeError("jobs can start only while Jobs.run is running")
        return self._group.create_task(work, name=name)
