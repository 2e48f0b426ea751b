"""What every place in which an engine's jobs run offers, and the first of them: threads of the worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeAlias

from studio_worker.engines.base import Engine, EngineJob, Estimate
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.job_watch import UNMEASURED, ThreadWatch
from studio_worker.engines.output import EngineOutput
from studio_worker.engines.self_report import said
from studio_worker.engines.threads import Crew
from studio_worker.engines.warm import WarmModel, loads_models
from studio_worker.engines.working import ChunkCallback, do_job
from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles

ESTIMATE_SECS = 10.0
"""How long an engine may take to say what a model needs; the start of its process included."""

LeftBehind: TypeAlias = Callable[[str, "Future[Any]"], None]
"""Told of a job's work that goes on in a thread after its call was cancelled."""


class Runner(Protocol):
    """Runs the jobs of one engine."""

    async def run(self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None = None) -> EngineOutput:
        """Load what is needed, run the job, check what came back.

        A cancelled call returns at once; work that is still done for it is reported as left behind.

        Raises:
            JobError: whatever the engine raised, as the error that the job ends with.
        """
        ...

    def give_up(self, job_id: str, why: str) -> None:
        """Take note that the job, whose call is about to be cancelled, hangs."""
        ...

    async def estimate(self, model: ModelFiles) -> Estimate | None:
        """What the engine says that `model` will take; None where it does not know.

        Raises:
            EngineError: it did not answer in time, or could not.
        """
        ...

    async def unload(self, device: str | None = None) -> bool:
        """Free the memory that no job uses, of one device or of all; whether that is done."""
        ...

    async def stop(self) -> bool:
        """Free all memory, whatever runs; whether that is done."""
        ...

    async def aclose(self, grace_secs: float) -> None:
        """Unload and end; waits at most `grace_secs` for what is asked to."""
        ...


class EngineHolder:
    """An engine that is built when it is first needed, and once; with the model that it keeps loaded.

    Args:
        build: makes the engine; may import its package.
        idle_secs: how long an unused model stays loaded.
        on_unloaded: told on the loop when an unused model was unloaded.
    """

    def __init__(
        self, build: Callable[[], Engine], *, idle_secs: float, on_unloaded: Callable[[], None] = lambda: None
    ) -> None:
        self._build = build
        self._on_unloaded = on_unloaded
        self._idle_secs = idle_secs
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._aside = Crew("aside", 1)
        self.engine: Engine | None = None
        self.warm: WarmModel | None = None

    def get(self) -> Engine:
        """The engine; the first call imports its package, so it belongs in a thread."""
        with self._lock:
            if self.engine is None:
                engine = self._build()
                self.warm = WarmModel(engine) if loads_models(engine) else None
                self.engine = engine
            return self.engine

    def is_used(self) -> None:
        """A job begins; on the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_unused(self, crew: Crew) -> None:
        """A job has ended; unless another begins, `crew` unloads the model after a while. On the loop."""
        self.is_used()
        if self.warm is not None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(self._idle_secs, self._unload, self.warm, crew)

    def _unload(self, warm: WarmModel, crew: Crew) -> None:
        if warm.is_busy:
            # A cancelled job is still at work in its thread.
            self.is_unused(crew)
        else:
            unloading = asyncio.wrap_future(crew.submit(warm.unload_if_idle))
            unloading.add_done_callback(self._unloaded)

    def _unloaded(self, unloading: asyncio.Future[bool]) -> None:
        if not unloading.cancelled() and unloading.exception() is None and unloading.result():
            self._on_unloaded()

    async def estimate(self, model: ModelFiles, name: str) -> Estimate | None:
        """What the engine says; an error there is logged, a silence is an EngineError. Neither ends a job."""
        asking = self._aside.submit(lambda: self.get().estimate(model))
        try:
            async with asyncio.timeout(ESTIMATE_SECS):
                return await asyncio.wrap_future(asking)
        except TimeoutError:
            raise EngineError(f"engine '{name}' did not say within {ESTIMATE_SECS:g} s") from None
        except Exception as error:  # noqa: BLE001 - an engine's fault that ends no job
            logger.bind(event="engine.estimate", engine=name, reason=said(error)).warning(
                "An engine cannot say what a model takes"
            )
            return None

    async def free(self) -> bool:
        """Unload what nobody uses; whether nothing is held."""
        if (warm := self.warm) is None:
            return True
        await asyncio.wrap_future(self._aside.submit(warm.unload_if_idle))
        return not warm.is_busy

    async def aclose(self, crew: Crew, grace_secs: float) -> None:
        """Unload in `crew` and close it; a thread that does not come back is left to the end of the process."""
        self._is_closed = True
        self.is_used()
        unloading = crew.submit(self.warm.unload_if_idle) if self.warm is not None else None
        crew.close()
        self._aside.close()
        if unloading is not None:
            _, late = await asyncio.wait([asyncio.wrap_future(unloading)], timeout=grace_secs)
            for future in late:
                future.cancel()


class ThreadRunner:
    """Runs jobs in `concurrency` threads that belong to this engine alone; one hop there, one back."""

    def __init__(self, description: EngineDescription, holder: EngineHolder, left_behind: LeftBehind) -> None:
        self._name = description.name
        self._holder = holder
        self._left_behind = left_behind
        self._crew = Crew(f"engine-{description.name}", description.concurrency)

    async def run(self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None = None) -> EngineOutput:
        """Run the job in the next free thread."""
        self._holder.is_used()
        self._watch_in_thread(job)
        future = self._crew.submit(lambda: do_job(self._name, self._built, job, model, on_chunk))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.done():
                self._left_behind(job.id, future)
            raise
        finally:
            self._holder.is_unused(self._crew)

    def give_up(self, job_id: str, why: str) -> None:
        """Nothing more can be done: no thread can be ended from outside."""

    async def estimate(self, model: ModelFiles) -> Estimate | None:
        """What the engine says, in a thread beside the jobs."""
        return await self._holder.estimate(model, self._name)

    async def unload(self, device: str | None = None) -> bool:
        """Unload the model unless a job uses it, wherever it is."""
        return await self._holder.free()

    async def stop(self) -> bool:
        """`unload`: a job in a thread cannot be stopped."""
        return await self._holder.free()

    async def aclose(self, grace_secs: float) -> None:
        """Unload and let the threads end."""
        await self._holder.aclose(self._crew, grace_secs)

    def _watch_in_thread(self, job: EngineJob) -> None:
        """Tell what is known already here, where it costs nothing, and leave the rest to the thread."""
        watch, job._watch = job._watch, None  # noqa: SLF001 - the host's side of a job
        if watch is None:
            return
        is_taken = self._crew.is_free
        if is_taken:
            watch.taken()
        if is_taken and self._holder.engine is not None and self._holder.warm is None:
            watch.loaded(UNMEASURED)
        else:
            job._watch = ThreadWatch(watch, is_taken=is_taken)  # noqa: SLF001

    def _built(self) -> tuple[Engine, WarmModel | None]:
        engine = self._holder.get()
        return engine, self._holder.warm
