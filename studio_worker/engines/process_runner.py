"""Jobs of an engine that has a process of its own: started on first use, ended when idle, started anew when it died."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from studio_worker.clock import Clock
from studio_worker.config.secrecy import plugin_secrets
from studio_worker.engines import messages
from studio_worker.engines.base import EngineJob, Estimate
from studio_worker.engines.child_folders import ChildFolders
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.devices import seen_as, variables
from studio_worker.engines.engine_process import EngineProcess
from studio_worker.engines.framing import BrokenFrame
from studio_worker.engines.interpreter import Interpreter
from studio_worker.engines.job_wire import is_in_file, pack_model, unpack_result
from studio_worker.engines.loading import StartCheck, unchecked
from studio_worker.engines.messages import Done, Estimated, Open
from studio_worker.engines.oom_kills import oom_kills
from studio_worker.engines.output import EngineOutput, check_output
from studio_worker.engines.restarts import Restarts
from studio_worker.engines.run_in_child import RunInChild
from studio_worker.engines.runner import ESTIMATE_SECS, LeftBehind
from studio_worker.engines.thread_share import VARIABLES, capped
from studio_worker.engines.working import ChunkCallback
from studio_worker.errors import EngineError
from studio_worker.log import logger
from studio_worker.masks import Masks
from studio_worker.models.files import ModelFiles

EngineKey: TypeAlias = tuple[str, str, str, int]
DeathCallback: TypeAlias = Callable[[EngineKey, str | None, str], None]
"""Told of each death of a child: the engine's key, the model at work (None: no job ran), what happened."""

GoneCallback: TypeAlias = Callable[[EngineKey, str | None], None]
"""Told when what an engine held on a device is free: the engine's key, the device (None: it was given none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What is the same for the processes of every engine.

    Attributes:
        idle_secs: how long a process without jobs stays.
        cancel_grace_secs: how long a cancelled job may take to stop before its process is ended.
        threads: CPU threads where a job names none, at this moment.
        cores: CPU threads that a job gets at most.
        on_death: told of each death.
        on_gone: told when nothing is left of a process, whatever ended it.
        clock: counts the pauses between restarts.
        folders: where the processes' temporary files go.
        oom_kills: how many processes the system has killed for their memory; asked in a thread.
        check: asked in a thread before each start; raises the EngineError with which there is none.
    """

    idle_secs: float
    cancel_grace_secs: float
    threads: Callable[[], int]
    cores: int
    on_death: DeathCallback
    on_gone: GoneCallback
    clock: Clock
    folders: ChildFolders
    oom_kills: Callable[[], int | None] = oom_kills
    check: StartCheck = unchecked


class ProcessRunner:
    """Runs jobs in one child, `concurrency` at once.

    Args:
        description: the engine.
        opening: what the child is to serve.
        left_behind: told of jobs whose call was cancelled while the engine still works.
        settings: times and threads.
        device: the device that the child is given; None: it sees what the worker sees.
    """

    def __init__(
        self,
        description: EngineDescription,
        opening: Open,
        left_behind: LeftBehind,
        settings: ProcessSettings,
        device: str | None = None,
    ) -> None:
        self._description = description
        self._key = description.key
        self._name = description.name
        self._interpreter = Interpreter(description.python)
        self._opening = replace(opening, device=device)
        self._device = device
        self.restarts = Restarts(settings.clock)
        self._left_behind = left_behind
        self._settings = settings
        self._seats = asyncio.Semaphore(description.concurrency)
        self._start = asyncio.Lock()
        self._process: EngineProcess | None = None
        self._leaving: set[EngineProcess] = set()
        self._idling: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._asking = 0
        self._running: set[RunInChild] = set()
        self._hanging: dict[str, str] = {}
        self._is_closed = False

    async def run(self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None = None) -> EngineOutput:
        """Run the job in the child.

        A child that was lost before it took the job is started anew once, since the job has nothing to do with that.
        """
        self._waiting += 1
        self._idle()
        try:
            done, is_lost = await self._run_once(job, model, on_chunk, may_be_lost=True)
            if is_lost:
                done, _ = await self._run_once(job, model, on_chunk, may_be_lost=False)
        finally:
            self._waiting -= 1
            self._hanging.pop(job.id, None)
            self._idle()
        assert done is not None, "only a run that may be lost has no end"
        return await self._checked(job, done)

    def give_up(self, job_id: str, why: str) -> None:
        """The job's end speaks against the engine, where its process has to be ended."""
        if any(run.job.id == job_id for run in self._running):
            self._hanging[job_id] = why

    async def estimate(self, model: ModelFiles) -> Estimate | None:
        """What the engine says in its child; started for that where it is not there."""
        raw = pack_model(self._as_seen(model))
        self._asking += 1
        self._idle()
        try:
            async with asyncio.timeout(ESTIMATE_SECS):
                process = await self._usable()
                answer = await process.ask(lambda call: messages.Estimate(call, raw))
        except TimeoutError:
            raise EngineError(f"engine '{self._name}' did not say within {ESTIMATE_SECS:g} s") from None
        finally:
            self._asking -= 1
            self._idle()
        if not isinstance(answer, Estimated):
            raise EngineError(f"the process of engine '{self._name}' ended before it had said")
        if answer.ram_bytes is None or answer.vram_bytes is None:
            return None
        return Estimate(max(answer.ram_bytes, 0), max(answer.vram_bytes, 0))

    async def unload(self) -> bool:
        """End the process unless a job uses it; whether nothing of it is left.

        A question that it has been asked does not keep it: whoever asks can ask again.
        """
        if self._waiting or self._running:
            return False
        self._retire()
        return await self._all_gone()

    async def stop(self) -> bool:
        """End the process, whatever runs; whether nothing of it is left."""
        self._drop("it was stopped to free its memory")
        return await self._all_gone()

    async def aclose(self, grace_secs: float) -> None:
        """Ask every run to stop, then end the process."""
        self._is_closed = True
        async with self._start:
            # A process that is being started now is there to be ended.
            process = self._process
        if process is not None:
            for run in self._running:
                process.cancel(run, grace_secs=grace_secs)
        lettings = [asyncio.wrap_future(run.let_go) for run in self._running]
        try:
            if lettings:
                await asyncio.wait(lettings, timeout=grace_secs)
        finally:
            if self._running:
                self._drop("the worker is stopping")
            self._retire()
        await self._all_gone()

    async def _run_once(
        self, job: EngineJob, model: ModelFiles, on_chunk: ChunkCallback | None, *, may_be_lost: bool
    ) -> tuple[Done | None, bool]:
        """The run's end, or that it was lost before it began."""
        await self._seats.acquire()
        try:
            process = await self._usable()
            was_ready = process.is_ready
            run = process.begin(job, self._as_seen(model), on_chunk)
        except BrokenFrame as problem:
            self._seats.release()
            raise EngineError(f"the job does not fit into a message: {problem}", retryable=False) from None
        except BaseException:
            self._seats.release()
            raise
        self._running.add(run)
        run.let_go.add_done_callback(lambda _: self._let_go(run))
        try:
            done = await run.outcome
            self.restarts.succeeded()
            return done, False
        except asyncio.CancelledError:
            if not run.let_go.done():
                grace = self._settings.cancel_grace_secs
                process.cancel(run, grace_secs=grace, hangs=self._hanging.get(job.id))
                self._left_behind(job.id, run.let_go)
            raise
        except EngineError:
            if may_be_lost and was_ready and not run.has_started and not process.is_usable and not self._is_closed:
                return None, True
            raise

    def _let_go(self, run: RunInChild) -> None:
        self._running.discard(run)
        self._seats.release()
        self._idle()

    async def _usable(self) -> EngineProcess:
        """The process, started now where there is none; not before the last one has let go of its memory."""
        async with self._start:
            if self._is_closed:
                raise EngineError(f"engine '{self._name}' takes no more jobs: the worker is stopping")
            if self._process is None or not self._process.is_usable:
                self._leave()
                await self._all_gone()
                if (refusal := self.restarts.refusal(self._name)) is not None:
                    raise EngineError(refusal)
                await asyncio.to_thread(self._settings.check, self._description)
                self._process = await EngineProcess.start(
                    self._name,
                    self._opening,
                    self._variables(),
                    interpreter=self._interpreter,
                    ends=self,
                    folders=self._settings.folders,
                    oom_kills=self._settings.oom_kills,
                )
            return self._process

    def _idle(self) -> None:
        """Count the time without jobs from now on; while there are some, none."""
        if self._idling is not None:
            self._idling.cancel()
            self._idling = None
        is_used = self._waiting or self._asking or self._running
        if self._process is not None and not is_used and not self._is_closed:
            self._idling = asyncio.get_running_loop().call_later(self._settings.idle_secs, self._retire)

    def _retire(self) -> None:
        if self._process is not None:
            self._process.retire()
            self._leave()

    def _drop(self, why: str) -> None:
        if self._process is not None:
            self._process.end(why)
            self._leave()

    def _leave(self) -> None:
        if self._process is not None:
            self._leaving.add(self._process)
            self._process = None

    async def _all_gone(self) -> bool:
        """Wait for the ends of processes that are not used any more."""
        gone = [(process, await process.gone()) for process in list(self._leaving)]
        self._leaving -= {process for process, _ in gone}
        return all(is_gone for _, is_gone in gone)

    def died(self, model: str | None, why: str, *, has_begun: bool) -> None:
        """A child of this runner has died; its last words may hold what its plugin was given to keep."""
        why = Masks(plugin_secrets({"": self._opening.table})).hide(why)
        if has_begun:
            self.restarts.succeeded()
        else:
            self.restarts.died(why)
        logger.bind(event="engine.death", engine=self._name, model=model, reason=why).error(
            "The process of an engine is gone"
        )
        try:
            self._settings.on_death(self._key, model, why)
        except Exception as error:  # noqa: BLE001 - whoever listens must not keep the jobs from their ends
            logger.bind(event="engine.death", engine=self._name).opt(exception=error).error(
                "A listener of deaths failed"
            )

    def gone(self) -> None:
        """Nothing is left of a child of this runner."""
        self._settings.on_gone(self._key, self._device)

    def _as_seen(self, model: ModelFiles) -> ModelFiles:
        """The model with the options that the engine sees: its share of the threads, its device by its name there."""
        options = model.options
        threads = capped(options.threads, self._settings.threads(), self._settings.cores)
        return replace(model, options=replace(options, threads=threads, device=seen_as(options.device)))

    def _variables(self) -> dict[str, str]:
        """The child's own device, and its threads where the operator says nothing of them."""
        share = str(self._settings.threads())
        threads = {name: share for name in VARIABLES if name not in os.environ}
        return {**threads, **variables(self._device)}

    async def _checked(self, job: EngineJob, done: Done) -> EngineOutput:
        """What came back, as far as it may be believed."""

        def check() -> EngineOutput:
            try:
                result = unpack_result(done.result, job.work_dir)
            except BrokenFrame as problem:
                raise EngineError(f"engine '{self._name}' returned what cannot be used: {problem}") from None
            return check_output(self._name, job.task.kind, result, done.meta, job.work_dir)

        return await asyncio.to_thread(check) if is_in_file(done.result) else check()
