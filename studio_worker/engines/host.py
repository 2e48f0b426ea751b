"""Runs jobs on engines: one runner an engine, its model kept warm, its errors and results brought into shape."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from studio_worker.clock import Clock, SystemClock
from studio_worker.engines.base import Engine, EngineJob, JobInfo, Outcome, ProgressCallback
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.given import take_given
from studio_worker.engines.job_hooks import JobHooks
from studio_worker.engines.loading import PluginShelf
from studio_worker.engines.output import EngineOutput
from studio_worker.engines.progress import ProgressRelay
from studio_worker.engines.router import Route
from studio_worker.engines.runner import EngineHolder, LoopRunner, Runner, ThreadRunner
from studio_worker.errors import EngineError, JobCancelled, JobError
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles
from studio_worker.wire.tasks import Task

__all__ = ["EngineCall", "EngineOutput", "Host"]

CLOSE_GRACE_SECS = 5.0
"""How long `aclose` waits for an engine to unload before it leaves the thread to the end of the process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineCall:
    """Everything that one run needs; the host asks nobody back.

    Attributes:
        job_id: the job's id.
        route: the router's choice.
        task: the task, with every default resolved.
        model: the model's files, present and checked.
        inputs: fetched inputs by name (``image``, ``mask``, ``ref_image``, ``audio``).
        seed: always set.
        work_dir: a private folder, there before the call and removed by the caller once the job has settled.
        on_progress: told on the loop how far the job is, at most ten times a second.
    """

    job_id: str
    route: Route
    task: Task
    model: ModelFiles
    inputs: Mapping[str, Path]
    seed: int
    work_dir: Path
    on_progress: ProgressCallback


class Host:
    """The engines of one worker, ready to run.

    Args:
        descriptions: the engines that plugins brought, as `plugins.discover` gave them.
        given: engines of the embedder: objects, or ``"package.module:factory"``.
        tables: plugin name to the operator's ``[plugins.<name>]`` table.
        clock: takes the time of a run.
        engine_idle_secs: how long an unused model stays loaded.
    """

    def __init__(
        self,
        descriptions: Sequence[EngineDescription],
        *,
        given: Sequence[Engine | str] = (),
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        clock: Clock | None = None,
        engine_idle_secs: float = 300.0,
    ) -> None:
        taken = take_given(given)
        self.descriptions: tuple[EngineDescription, ...] = (*descriptions, *(each.description for each in taken))
        self._given = {each.description.key: each.engine for each in taken}
        self._shelf = PluginShelf(tables or {})
        self._clock = clock or SystemClock()
        self._idle_secs = engine_idle_secs
        self._runners: dict[tuple[str, str, int], Runner] = {}
        self._hooks = JobHooks(self._shelf, self.descriptions)
        self._running: dict[threading.Event, str] = {}
        self._left: dict[str, set[Future[Any]]] = {}
        self._is_closed = False

    async def start(self) -> None:
        """Make ready for jobs; engines are built when they are first needed."""
        self._is_closed = False

    async def aclose(self) -> None:
        """Ask every job still at work to stop, unload the models, let the threads end.

        An engine that does not come back within five seconds is left behind; its thread does not hold the process.
        """
        self._is_closed = True
        for cancel in self._running:
            cancel.set()
        runners, self._runners = list(self._runners.values()), {}
        await asyncio.gather(*(runner.aclose(CLOSE_GRACE_SECS) for runner in runners))
        await self._hooks.aclose()

    async def run(self, call: EngineCall) -> EngineOutput:
        """Run one job on the engine that its route names.

        A cancelled call sets the job's cancel flag and returns at once; `settled` tells when the engine has let go.

        Raises:
            JobError: what the engine raised (UnsupportedTask, BadInput, EngineError, OutOfMemory, JobCancelled),
                or what is wrong with what it returned.
        """
        engine = call.route.engine
        if self._is_closed:
            raise EngineError(f"engine '{engine.name}' takes no more jobs: the worker is stopping")
        runner = self._runners.get(engine.key) or self._new_runner(engine)
        cancel = threading.Event()
        progress = ProgressRelay(call.on_progress, job_id=call.job_id)
        job = EngineJob(
            id=call.job_id,
            model=call.model.id,
            task=call.task,
            seed=call.seed,
            work_dir=call.work_dir,
            log=logger.bind(job_id=call.job_id, engine=engine.name),
            source=call.model.source,
            files=call.model.files,
            inputs=call.inputs,
            options=call.model.options,
            _on_progress=progress,
            _cancel=cancel,
        )
        started = self._clock.monotonic()
        self._running[cancel] = call.job_id
        is_done = False
        error: JobError | None = None
        try:
            output = await runner.run(job, call.model)
            is_done = True
            return output
        except JobError as problem:
            error = problem
            raise
        finally:
            cancel.set()
            del self._running[cancel]
            progress.close(flush=is_done)
            self._log_end(call, error, is_done, self._clock.monotonic() - started)

    async def settled(self, job_id: str) -> None:
        """Return once no engine works for this job any more; at once where none does."""
        while left := self._left.get(job_id):
            ends = [asyncio.wrap_future(future) for future in left]
            for end in ends:
                # How the engine ended is known already; asyncio would complain of an error that nobody reads.
                end.add_done_callback(_see)
            await asyncio.wait(ends)
            for future in [future for future in left if future.done()]:
                left.discard(future)
            if not left:
                self._left.pop(job_id, None)

    @property
    def has_job_hooks(self) -> bool:
        """Whether any plugin wants to be told of jobs."""
        return not self._hooks.is_empty

    def job_started(self, job: JobInfo) -> None:
        """Tell the plugins' hooks that a job is about to run; returns at once."""
        self._hooks.job_started(job)

    def job_finished(self, job: JobInfo, outcome: Outcome) -> None:
        """Tell the plugins' hooks how a job has ended; returns at once."""
        self._hooks.job_finished(job, outcome)

    def _new_runner(self, description: EngineDescription) -> Runner:
        if description.key in self._given:
            engine = self._given[description.key]
            holder = EngineHolder(lambda: engine, idle_secs=self._idle_secs)
        else:
            holder = EngineHolder(partial(self._shelf.engine, description), idle_secs=self._idle_secs)
        make = LoopRunner if description.isolation == "loop" else ThreadRunner
        runner = self._runners[description.key] = make(description, holder, self._leave)
        return runner

    def _leave(self, job_id: str, future: Future[Any]) -> None:
        self._left.setdefault(job_id, set()).add(future)
        loop = asyncio.get_running_loop()
        future.add_done_callback(partial(_on_loop, loop, self._forget, job_id))

    def _forget(self, job_id: str, future: Future[Any]) -> None:
        left = self._left.get(job_id, set())
        left.discard(future)
        if not left:
            self._left.pop(job_id, None)

    def _log_end(self, call: EngineCall, error: JobError | None, is_done: bool, elapsed_secs: float) -> None:
        said: dict[str, Any] = {
            "event": "engine.dispatch",
            "op": "dispatch",
            "job_id": call.job_id,
            "kind": call.route.kind.value,
            "model": call.route.model,
            "engine": call.route.engine.name,
            "elapsed_ms": round(elapsed_secs * 1000, 1),
        }
        if is_done:
            logger.debug("An engine has done its job", **said)
        elif error is not None and not isinstance(error, JobCancelled):
            logger.bind(**said, reason=str(error), retryable=error.retryable).warning("An engine failed its job")
        else:
            logger.bind(**said).debug("An engine's job was cancelled")


def _see(end: asyncio.Future[Any]) -> None:
    if not end.cancelled():
        end.exception()


def _on_loop(loop: asyncio.AbstractEventLoop, call: Any, job_id: str, future: Future[Any]) -> None:
    try:
        loop.call_soon_threadsafe(call, job_id, future)
    except RuntimeError:
        # The loop is closed; nobody waits any more.
        return
