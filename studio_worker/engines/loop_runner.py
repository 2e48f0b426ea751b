"""Engines whose jobs are awaited on the worker's own event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from studio_worker.engines.base import AudioChunk, Engine, EngineJob, Estimate, TextDelta
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.failures import folders_of, job_error
from studio_worker.engines.job_watch import UNMEASURED
from studio_worker.engines.output import EngineOutput, check_output
from studio_worker.engines.runner import EngineHolder, LeftBehind, ThreadRunner
from studio_worker.engines.threads import Crew
from studio_worker.engines.warm import WarmModel
from studio_worker.engines.working import ChunkCallback, no_piece, streams
from studio_worker.errors import JobError
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles


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

    async def run(self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None = None) -> EngineOutput:
        """Run the job where it is awaited."""
        if self._is_async is None:
            self._is_async = await self._is_coroutine_engine(job)
        if not self._is_async:
            return await self._threads.run(job, model, on_chunk)
        async with self._seats:
            if job._watch is not None:  # noqa: SLF001 - the host's side of a job
                job._watch.taken()  # noqa: SLF001
            if self._holder.warm is None:
                return await self._await(job, on_chunk)
            return await self._with_model(self._holder.warm, job, model, on_chunk)

    def give_up(self, job_id: str, why: str) -> None:
        """Nothing more can be done: the job is cancelled where it waits."""

    async def estimate(self, model: ModelFiles) -> Estimate | None:
        """What the engine says, in a thread."""
        return await self._holder.estimate(model, self._name)

    async def unload(self, device: str | None = None) -> bool:
        """Unload the model unless a job uses it, wherever it is."""
        return await self._holder.free()

    async def stop(self) -> bool:
        """`unload`: jobs end when they are cancelled."""
        return await self._holder.free()

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
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled, folders=folders_of(job))
        raise failure

    async def _with_model(
        self, warm: WarmModel, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None
    ) -> EngineOutput:
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
            return await self._await(job, on_chunk)
        finally:
            job.loaded = None
            warm.give_back()
            self._holder.is_unused(self._crew)

    def _taken(self, warm: WarmModel, job: EngineJob, model: ModelFiles) -> Any:
        try:
            return warm.take(model)
        except BaseException as error:  # noqa: BLE001 - `load` of an engine may raise anything
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled, folders=folders_of(job))
        raise failure

    async def _await(self, job: EngineJob, on_chunk: ChunkCallback | None) -> EngineOutput:
        engine, task = self._holder.engine, asyncio.current_task()
        if engine is None or task is None:
            raise RuntimeError("a loop engine runs inside a task, after it was built")
        asked = task.cancelling()
        if job._watch is not None:  # noqa: SLF001 - the host's side of a job
            job._watch.loaded(UNMEASURED)  # noqa: SLF001
        failure: JobError
        try:
            if on_chunk is not None and streams(engine):
                result = await _last(engine, job, on_chunk)
            else:
                result = await engine.run(job)
            output = await self._checked(job, result)
        except asyncio.CancelledError as error:
            if task.cancelling() > asked:
                raise
            # The engine awaited something that was cancelled; nobody cancelled the job.
            failure = job_error(self._name, job.id, error, was_asked_to_stop=False, folders=folders_of(job))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit of an engine ends its job, not the worker
            failure = job_error(self._name, job.id, error, was_asked_to_stop=job.cancelled, folders=folders_of(job))
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


async def _last(engine: Engine, job: EngineJob, on_chunk: ChunkCallback) -> Any:
    """What an async stream yields last, the result; the pieces before it are handed on."""
    pieces = engine.stream(job)
    if not isinstance(pieces, AsyncIterator):
        raise TypeError("stream must be an async generator where run is async")
    result = None
    async for piece in pieces:
        if isinstance(piece, (TextDelta, AudioChunk)):
            if result is not None:
                raise no_piece(engine, job, result)
            on_chunk(piece)
        elif result is not None:
            raise no_piece(engine, job, result)
        else:
            result = piece
    return result
