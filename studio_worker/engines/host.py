"""Runs jobs on engines: one runner an engine, its model kept warm, its errors and results brought into shape.

An engine with isolation ``process`` runs in a child of its own (`process_runner`), the others in threads of the worker
or on its event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from studio_worker.clock import Clock, SystemClock
from studio_worker.config.secrecy import plugin_secrets
from studio_worker.engines.base import CancelFlag, Engine, Estimate, JobInfo, Outcome
from studio_worker.engines.child_folders import ChildFolders
from studio_worker.engines.child_process import plain
from studio_worker.engines.chunks import ChunkRelay
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.device_runner import DeviceRunner
from studio_worker.engines.devices import Devices
from studio_worker.engines.engine_call import EngineCall
from studio_worker.engines.given import GivenEngine, take_given
from studio_worker.engines.interpreter import Interpreter
from studio_worker.engines.job_hooks import JobHooks
from studio_worker.engines.left_behind import LeftBehindWork
from studio_worker.engines.loading import PluginShelf, StartCheck, unchecked
from studio_worker.engines.loop_runner import LoopRunner
from studio_worker.engines.messages import Open
from studio_worker.engines.output import EngineOutput
from studio_worker.engines.process_runner import DeathCallback, EngineKey, GoneCallback, ProcessRunner, ProcessSettings
from studio_worker.engines.progress import ProgressRelay
from studio_worker.engines.restarts import Restarts
from studio_worker.engines.router import Route
from studio_worker.engines.runner import EngineHolder, Runner, ThreadRunner
from studio_worker.engines.speeds import Speeds
from studio_worker.engines.thread_share import thread_share, usable_cores
from studio_worker.errors import EngineError, JobCancelled, JobError
from studio_worker.log import logger
from studio_worker.masks import Masks
from studio_worker.models.files import ModelFiles

__all__ = ["EngineCall", "EngineOutput", "Host"]

CLOSE_GRACE_SECS = 5.0
"""How long `aclose` waits for an engine: then its process is ended, its thread left to the end of the worker's."""

CANCEL_GRACE_SECS = 5.0
"""How long a cancelled job of an engine with its own process may take to stop before that process is ended."""


@dataclass(slots=True, eq=False)
class _Running:
    """A job at work: what asks it to stop, the task that awaits it, and why that was given up."""

    call: EngineCall
    runner: Runner
    cancel: CancelFlag
    task: asyncio.Task[Any]
    why: str = ""


class Host:
    """The engines of one worker, ready to run.

    Args:
        descriptions: the engines that plugins brought, as `InstalledEngines.described` gave them.
        given: engines of the embedder: objects, or what `given.describe_factories` made of factories.
        tables: plugin name to the operator's ``[plugins.<name>]`` table.
        clock: takes the time of a run.
        engine_idle_secs: how long an unused model stays loaded, and an engine's process without jobs stays.
        cancel_grace_secs: how long a cancelled job may take to stop before its engine's process is ended.
        slots: jobs that may run at once, which share the machine's cores; asked for each job and each process.
        on_death: told on the loop when an engine's process has died or was ended for hanging: the engine's key, the
            model at work (None: no job ran) and what happened.
        on_gone: told on the loop when an engine has let go of its memory, for whatever reason: the engine's key and
            the device (None: it was given none).
        devices: the devices of the worker; an engine has a process for each that its jobs are given.
        folders: where the processes' temporary files go.
        check: asked in a thread before the code of a plugin's engine is started, in a process or in the worker; raises
            the EngineError with which it is not.
    """

    def __init__(
        self,
        descriptions: Sequence[EngineDescription],
        *,
        given: Sequence[Engine | GivenEngine] = (),
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        clock: Clock | None = None,
        engine_idle_secs: float = 300.0,
        cancel_grace_secs: float = CANCEL_GRACE_SECS,
        slots: Callable[[], int] = lambda: 1,
        on_death: DeathCallback | None = None,
        on_gone: GoneCallback | None = None,
        devices: Devices | None = None,
        folders: ChildFolders | None = None,
        check: StartCheck = unchecked,
    ) -> None:
        taken = take_given(given)
        self.descriptions: tuple[EngineDescription, ...] = (*descriptions, *(each.description for each in taken))
        self._given = {each.description.key: each for each in taken}
        self._tables = tables or {}
        self._masks = Masks(plugin_secrets(self._tables))
        self._shelf = PluginShelf(self._tables, check)
        self._clock = clock or SystemClock()
        self._idle_secs = engine_idle_secs
        self._devices = devices or Devices()
        self._folders = folders or ChildFolders()
        self._on_gone = on_gone or _unheeded
        cores = usable_cores()
        self._processes = ProcessSettings(
            idle_secs=engine_idle_secs,
            cancel_grace_secs=cancel_grace_secs,
            threads=lambda: thread_share(slots(), cores),
            cores=cores,
            on_death=on_death or _unheard,
            on_gone=self._on_gone,
            clock=self._clock,
            folders=self._folders,
            check=check,
        )
        self._runners: dict[EngineKey, Runner] = {}
        self._hooks = JobHooks(self._shelf, self.descriptions)
        self.speeds = Speeds()
        self._running: set[_Running] = set()
        self._left = LeftBehindWork()
        self._is_closed = False

    async def start(self) -> None:
        """Make ready for jobs, and remove what a killed worker has left; engines are built when they are needed."""
        self._is_closed = False
        await asyncio.to_thread(self._folders.sweep)

    async def aclose(self) -> None:
        """Ask every job still at work to stop, unload the models, let the threads end.

        Of an engine that does not come back within five seconds the process is ended; a thread is left behind, and
        does not hold the worker's process.
        """
        self._is_closed = True
        for job in self._running:
            job.cancel.set()
        runners, self._runners = list(self._runners.values()), {}
        await asyncio.gather(*(runner.aclose(CLOSE_GRACE_SECS) for runner in runners))
        await self._hooks.aclose()
        await asyncio.to_thread(self._folders.close)

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
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in one
        asked = task.cancelling()
        cancel = CancelFlag()
        progress = ProgressRelay(call.on_progress, job_id=call.job_id, masks=self._masks)
        chunks = None if call.on_chunk is None else ChunkRelay(call.on_chunk, job_id=call.job_id)
        job = call.to_job(progress, cancel)
        started = self._clock.monotonic()
        running = _Running(call, runner, cancel, task)
        self._running.add(running)
        is_done = False
        error: JobError | None = None
        try:
            output = await runner.run(job, call.model, chunks)
            is_done = True
            return output
        except asyncio.CancelledError:
            if not running.why or task.uncancel() > asked:
                raise
            error = EngineError(f"engine '{engine.name}' was given up: {running.why}")
            raise error from None
        except JobError as problem:
            error = self._masks.hide_in(problem)
            raise
        finally:
            cancel.set()
            self._running.discard(running)
            progress.close(flush=is_done)
            if chunks is not None:
                chunks.close(flush=is_done)
            self._log_end(call, error, is_done, self._clock.monotonic() - started)

    def end_job(self, job_id: str, why: str) -> bool:
        """End a job that hangs; on the loop.

        Its call fails at once, as retryable, with `why` (``no step for 60 s``). Its engine is asked to stop, and where
        it doesn't, its process is ended, which is a death; a thread cannot be ended. `settled` tells when it is over.

        Returns:
            whether such a job runs.
        """
        found = [job for job in self._running if job.call.job_id == job_id]
        for job in found:
            job.why = why
            job.runner.give_up(job_id, why)
            job.task.cancel()
        return bool(found)

    async def estimate(self, route: Route, model: ModelFiles) -> Estimate | None:
        """What the route's engine says that `model` takes once loaded; None where it does not know.

        Raises:
            EngineError: it did not answer within ten seconds, or could not.
        """
        if self._is_closed:
            return None
        engine = route.engine
        try:
            return await (self._runners.get(engine.key) or self._new_runner(engine)).estimate(model)
        except EngineError as error:
            raise self._masks.hide_in(error) from None

    async def unload(self, engine: EngineKey, device: str | None = None) -> bool:
        """Free the memory of an engine that has no job, its process included; whether it is free now.

        Args:
            engine: the engine's key.
            device: the device whose process is meant; None: those of all.
        """
        runner = self._runners.get(engine)
        return runner is None or await runner.unload(device)

    async def stop(self, engine: EngineKey) -> bool:
        """Free the memory of an engine, whatever it does; whether it is free now.

        The jobs of a process end as retryable; a job in a thread or on the loop goes on, and keeps its model.
        """
        runner = self._runners.get(engine)
        return runner is None or await runner.stop()

    def restarts(self, engine: EngineKey) -> tuple[Restarts, ...]:
        """How it stands with the starts of an engine's processes, by device; empty before each GPU has had one."""
        runner = self._runners.get(engine)
        found = runner.restarts if isinstance(runner, DeviceRunner) else ()
        return found if len(found) >= len(self._devices.gpus) else ()

    async def settled(self, job_id: str) -> None:
        """Return once no engine works for this job any more; at once where none does."""
        await self._left.settled(job_id)

    @property
    def has_job_hooks(self) -> bool:
        """Whether any plugin wants to be told of jobs."""
        return not self._hooks.is_empty

    def call_hooks_of(self, engines: Sequence[EngineDescription]) -> None:
        """Call the job hooks of these engines' plugins from now on, and of no others."""
        self._hooks.use(engines)

    def job_started(self, job: JobInfo) -> None:
        """Tell the plugins' hooks that a job is about to run; returns at once."""
        self._hooks.job_started(job)

    def job_finished(self, job: JobInfo, outcome: Outcome) -> None:
        """Tell the plugins' hooks how a job has ended; returns at once."""
        self._hooks.job_finished(job, outcome)

    def _new_runner(self, description: EngineDescription) -> Runner:
        given = self._given.get(description.key)
        if description.isolation == "process":
            interpreter = Interpreter(description.python)
            opening = Open(
                value=description.entry_point if given is None else given.factory or "",
                table=plain(self._tables.get(description.plugin, {})),
                position=description.position if given is None else given.index,
                name=description.name,
                concurrency=description.concurrency,
                device=None,
                is_factory=given is not None,
                path=interpreter.import_path,
                pythonpath=interpreter.pythonpath,
            )
            runner: Runner = DeviceRunner(
                lambda device: ProcessRunner(description, opening, self._left.add, self._processes, device),
                self._devices.place,
            )
        else:
            build = given.build if given is not None else partial(self._shelf.engine, description)
            gone = partial(self._on_gone, description.key, None)
            holder = EngineHolder(build, idle_secs=self._idle_secs, on_unloaded=gone)
            make = LoopRunner if description.isolation == "loop" else ThreadRunner
            runner = make(description, holder, self._left.add)
        self._runners[description.key] = runner
        return runner

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
            self.speeds.took(call.route.engine, call.route.kind, call.route.model, elapsed_secs)
            logger.debug("An engine has done its job", **said)
        elif error is not None and not isinstance(error, JobCancelled):
            logger.bind(**said, reason=str(error), retryable=error.retryable).warning("An engine failed its job")
        else:
            logger.bind(**said).debug("An engine's job was cancelled")


def _unheard(engine: EngineKey, model: str | None, why: str) -> None:
    """A death of which nobody wants to hear."""


def _unheeded(engine: EngineKey, device: str | None) -> None:
    """Memory that is free, which nobody counts."""
