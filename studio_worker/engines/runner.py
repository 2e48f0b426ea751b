"""Where one engine's jobs run: in threads of their own, or on the event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from studio_worker.engines.base import Engine, EngineJob
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.failures import job_error
from studio_worker.engines.output import EngineOutput, check_output
from studio_worker.engines.threads import Crew
from studio_worker.engines.warm import WarmModel, loads_models
from studio_worker.errors import EngineError, JobError
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles

LeftBehind: TypeAlias = Callable[[str, "Future[Any]"], None]
"""Told of a job's work that goes on in a thread after its call was cancelled."""


class Runner(Protocol):
    """Runs the jobs of one engine."""

    async def run(self, job: EngineJob, model: ModelFiles) -> EngineOutput:
        """Load what is needed, run the job, check what came back.

        A cancelled call returns at once; work that a thread still does for it is reported as left behind.

        Raises:
            JobError: whatever the engine raised, as the error that the job ends with.
        """
        ...

    async def aclose(self, grace_secs: float) -> None:
        """Unload and let the threads end; waits at most `grace_secs` for them."""
        ...


class EngineHolder:
    """An engine that is built when it is first needed, and once; with the model that it keeps loaded.

    Args:
        build: makes the engine; may import its package.
        idle_secs: how long an unused model stays loaded.
    """

    def __init__(self, build: Callable[[], Engine], *, idle_secs: float) -> None:
        self._build = build
        self._idle_secs = idle_secs
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
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
            crew.submit(warm.unload_if_idle)

    async def aclose(self, crew: Crew, grace_secs: float) -> None:
        """Unload in `crew` and close it; a thread that does not come back is left to the end of the process."""
        self._is_closed = True
        self.is_used()
        unloading = crew.submit(self.warm.unload_if_idle) if self.warm is not None else None
        crew.close()
        if unloading is not None:
            _, late = await asyncio.wait([asyncio.wrap_future(unloading)], timeout=grace_secs)
            for future in late:
                future.cancel()


class ThreadRunner:
    """Runs jobs in `concurrency` threads that belong to this engine alone; one hop there, one back.

    Engines that ask for a process run in a thread of the worker in this release.
    """

    def __init__(self, description: EngineDescription, holder: EngineHolder, left_behind: LeftBehind) -> None:
        self._name = description.name
        self._holder = holder
        self._left_behind = left_behind
        self._crew = Crew(f"engine-{description.name}", description.concurrency)

    async def run(self, job: EngineJob, model: ModelFiles) -> EngineOutput:
        """Run the job in the next free thread."""
        self._holder.is_used()
        future = self._crew.submit(lambda: self._work(job, model))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not future.done():
                self._left_behind(job.id, future)
            raise
        finally:
            self._holder.is_unused(self._crew)

    async def aclose(self, grace_secs: float) -> None:
        """Unload and let the threads end."""
        await self._holder.aclose(self._crew, grace_secs)

    def _work(self, job: EngineJob, model: ModelFiles) -> EngineOutput:
        # Nothing but a JobError may leave: asyncio's futures cannot carry StopIteration, and an exception that
        # kept the engine's frames would keep its tensors.
        try:
            job.check_cancelled()
            engine = self._holder.get()
            warm = self._holder.warm
            if warm is None:
                return self._run(engine, job)
            with warm.use(model) as job.loaded:
                job.check_cancelled()
                return self._run(engine, job)
        except BaseException as error:  # noqa: BLE001 - SystemExit of an engine ends its job, not the worker
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled)
        finally:
            job.loaded = None
        raise failure

    def _run(self, engine: Engine, job: EngineJob) -> EngineOutput:
        result = engine.run(job)
        if inspect.iscoroutine(result):
            result.close()
            raise EngineError(f"engine '{self._name}' has an async run, which needs isolation 'loop'", retryable=False)
        return check_output(self._name, job.task.kind, result, job.meta, job.work_dir)


class LoopRunner:
    """Awaits jobs on the event loop, at most `concurrency` at once, with no task of its own.

    Only building the engine, `load`, `unload` and a look at a result file take a thread. An engine whose `run` is
    no ``async def`` runs in a thread instead, and a warning says so.
    """

    def __init__(self, description: EngineDescription, holder: EngineHolder, left_behind: LeftBehind) -> None:
        self._name = description.name
        self._holder = holder
        self._left_behind = left_behind
        # Each job may wait here for its model while another needs a thread to have its result looked at.
        self._crew = Crew(f"engine-{description.name}", description.concurrency + 1)
        self._seats = asyncio.Semaphore(description.concurrency)
        self._threads = ThreadRunner(description, holder, left_behind)
        self._is_async: bool | None = None

    async def run(self, job: EngineJob, model: ModelFiles) -> EngineOutput:
        """Run the job where it is awaited."""
        if self._is_async is None:
            self._is_async = await self._is_coroutine_engine(job)
        if not self._is_async:
            return await self._threads.run(job, model)
        async with self._seats:
            if self._holder.warm is None:
                return await self._await(job)
            return await self._with_model(self._holder.warm, job, model)

    async def aclose(self, grace_secs: float) -> None:
        """Unload and let the threads end."""
        await self._threads.aclose(grace_secs)
        self._crew.close()

    async def _is_coroutine_engine(self, job: EngineJob) -> bool:
        engine = await asyncio.wrap_future(self._crew.submit(lambda: self._built(job)))
        if inspect.iscoroutinefunction(engine.run):
            return True
        logger.bind(event="engine.host", engine=self._name).warning(
            "An engine asks for the loop but its run is not async; it runs in a thread"
        )
        return False

    def _built(self, job: EngineJob) -> Engine:
        try:
            return self._holder.get()
        except BaseException as error:  # noqa: BLE001 - importing a plugin may raise anything
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled)
        raise failure

    async def _with_model(self, warm: WarmModel, job: EngineJob, model: ModelFiles) -> EngineOutput:
        self._holder.is_used()
        taking = self._crew.submit(lambda: self._taken(warm, job, model))
        try:
            job.loaded = await asyncio.wrap_future(taking)
        except asyncio.CancelledError:
            if not taking.done():
                self._left_behind(job.id, taking)
            taking.add_done_callback(partial(_give_back, warm))
            raise
        finally:
            self._holder.is_unused(self._crew)
        try:
            return await self._await(job)
        finally:
            job.loaded = None
            warm.give_back()
            self._holder.is_unused(self._crew)

    def _taken(self, warm: WarmModel, job: EngineJob, model: ModelFiles) -> Any:
        try:
            return warm.take(model)
        except BaseException as error:  # noqa: BLE001 - `load` of an engine may raise anything
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled)
        raise failure

    async def _await(self, job: EngineJob) -> EngineOutput:
        engine, task = self._holder.engine, asyncio.current_task()
        if engine is None or task is None:
            raise RuntimeError("a loop engine runs inside a task, after it was built")
        asked = task.cancelling()
        failure: JobError
        try:
            result = await engine.run(job)
            output = await self._checked(job, result)
        except asyncio.CancelledError as error:
            if task.cancelling() > asked:
                raise
            # The engine awaited something that was cancelled; nobody cancelled the job.
            failure = job_error(self._name, job.id, error, was_asked_to_stop=False)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit of an engine ends its job, not the worker
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled)
        else:
            if task.cancelling() > asked:
                raise asyncio.CancelledError
            return output
        raise failure

    async def _checked(self, job: EngineJob, result: Any) -> EngineOutput:
        def check() -> EngineOutput:
            return check_output(self._name, job.task.kind, result, job.meta, job.work_dir)

        if isinstance(getattr(result, "data", None), Path):
            return await asyncio.wrap_future(self._crew.submit(check))
        return check()


def _give_back(warm: WarmModel, taking: Future[Any]) -> None:
    """The end of a use whose job was cancelled while its model was being loaded."""
    if not taking.cancelled() and taking.exception() is None:
        warm.give_back()
