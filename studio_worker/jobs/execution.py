"""One job from its ticket to its end: the work in a task that can be cancelled, the report in one that can't.

The job task owns the work task. A cancel for a reason ends the work alone, and the job task reports it; at abort both
end without a word, and what the job still owes is in the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from studio_worker.clock import Clock
from studio_worker.engines.base import LlmResult, Outcome, TranscriptResult
from studio_worker.engines.host import EngineCall, EngineOutput, Host
from studio_worker.engines.quarantine import Quarantine
from studio_worker.errors import JobCancelled
from studio_worker.jobs.admission import Admission
from studio_worker.jobs.checks import inspect, inspect_json, is_quickly_inspected
from studio_worker.jobs.chronicle import Chronicle
from studio_worker.jobs.delivery import Delivery
from studio_worker.jobs.failures import as_job_error
from studio_worker.jobs.input_pictures import settle_pictures
from studio_worker.jobs.inputs import InputFetcher, fetch_inputs
from studio_worker.jobs.journal import Journal
from studio_worker.jobs.links import tell_failure
from studio_worker.jobs.plan import Plan
from studio_worker.jobs.progress import INTERVAL_SECS, LinkProgress
from studio_worker.jobs.results import Artifact, Kept
from studio_worker.jobs.run_watch import RunWatch
from studio_worker.jobs.stage_limits import StageLimits, StageWatch
from studio_worker.jobs.stage_timer import StageTimer
from studio_worker.jobs.ticket import Ticket
from studio_worker.jobs.work_dirs import WorkDirs
from studio_worker.log import logger
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.models.progress import OnProgress
from studio_worker.wire.model_source import ModelSource
from studio_worker.wire.strict_json import dumps_lossy

MAX_META_CHARS = 64 * 1024

LIMITS = StageLimits()


class ModelStore(Protocol):
    """What a job asks of `studio_worker.models.store.Store`."""

    async def provision(
        self, model: str, source: ModelSource, options: LoadOptions, *, on_progress: OnProgress | None = None
    ) -> ModelFiles:
        """The model's files, present and checked, in use until `release`. Raises a JobError."""
        ...

    async def provision_local(
        self, model: str, source: ModelSource | None, options: LoadOptions, files: Mapping[str, Sequence[Path]]
    ) -> ModelFiles:
        """A caller's own files where they lie, in use until `release`. Raises a JobError."""
        ...

    def release(self, files: ModelFiles) -> None:
        """One use of these files is over; returns at once."""
        ...


class Execution:
    """Runs tickets.

    Args:
        host: where engines run.
        store: where models lie.
        fetcher: how inputs come.
        journal: what is owed.
        delivery: takes results that are kept.
        chronicle: told of progress and how jobs end.
        work_dirs: the jobs' private folders.
        clock: time.
        admission: finds room for models.
        quarantine: told of jobs that were done.
        limits: what each stage of a job may take.
        progress_secs: the least time between two progress frames of a job.
    """

    def __init__(
        self,
        *,
        host: Host,
        store: ModelStore,
        fetcher: InputFetcher,
        journal: Journal,
        delivery: Delivery,
        chronicle: Chronicle,
        work_dirs: WorkDirs,
        clock: Clock,
        admission: Admission,
        quarantine: Quarantine,
        limits: StageLimits = LIMITS,
        progress_secs: float = INTERVAL_SECS,
    ) -> None:
        self._admission = admission
        self._quarantine = quarantine
        self._limits = limits
        self._host = host
        self._store = store
        self._fetcher = fetcher
        self._journal = journal
        self._delivery = delivery
        self._chronicle = chronicle
        self._work_dirs = work_dirs
        self._clock = clock
        self._progress_secs = progress_secs

    def begin(self, ticket: Ticket) -> asyncio.Task[Artifact]:
        """Start the work task of an accepted job, ahead of its job task: quick work is done when that first looks.

        Whoever starts the job task cancels this one where the job task could not begin.
        """
        if self._host.has_job_hooks:
            self._host.job_started(ticket.plan.info)
        relay = LinkProgress(ticket, self._chronicle, interval_secs=self._progress_secs)
        ticket.work = work = asyncio.create_task(self._work(ticket, relay), name=f"work-{ticket.job_id}")
        return work

    async def run(self, ticket: Ticket, work: asyncio.Task[Artifact], on_end: Callable[[Ticket], None]) -> None:
        """The job task.

        Args:
            ticket: an accepted job with a seat, which is given back here: when the result is kept or handed over;
                after a failure, once the engine has let go.
            work: what `begin` returned for it.
            on_end: called in the moment in which the job's end is told, before the seat is free.
        """
        try:
            artifact = await self._worked(ticket, work)
            kept = await self._kept(ticket, artifact)
        except Exception as error:  # noqa: BLE001 - any error of a job ends this job, and no other
            on_end(ticket)
            self.report(ticket, error)
            await self._settled(ticket)
        else:
            if ticket.plan.origin == "local" and ticket.work_dir is not None:
                # A caller may look at once whether its files are gone; a studio can't.
                await self._work_dirs.remove(ticket.work_dir)
                ticket.work_dir = None
            on_end(ticket)
            self._hand_over(ticket, kept)
            if ticket.work_dir is not None and ticket.plan.is_light and not isinstance(artifact.data, Path):
                self._work_dirs.give_back(ticket.work_dir)
                ticket.work_dir = None
        if ticket.work_dir is not None:
            self._work_dirs.discard(ticket.work_dir)
        ticket.seat.leave()

    def report(self, ticket: Ticket, error: BaseException) -> None:
        """Tell a job's failure: the one place where errors become frames. Nothing is sent on a dead link."""
        ticket.is_ended = True
        problem = as_job_error(error, ticket.job_id)
        if ticket.cancellation is not None:
            problem = ticket.cancellation
        if ticket.plan.origin == "studio":
            self._journal.drop(ticket.entry, str(problem))
        tell_failure(ticket.link, problem, ticket.job_id)
        self._chronicle.failed(ticket.job_id, problem, ticket.entry.accepted_at, origin=ticket.plan.origin)
        seconds = self._clock.monotonic() - ticket.entry.accepted_at
        outcome = Outcome("failed", seconds, str(problem), problem.retryable)
        if isinstance(problem, JobCancelled):
            outcome = replace(outcome, status="cancelled")
        self._host.job_finished(ticket.plan.info, outcome)

    async def _settled(self, ticket: Ticket) -> None:
        """Wait until the engine of a failed job has let go; only then is its room another job's."""
        try:
            await self._host.settled(ticket.job_id)
        finally:
            if ticket.room is not None:
                await ticket.room.aclose()

    async def _worked(self, ticket: Ticket, work: asyncio.Task[Artifact]) -> Artifact:
        """What the work task made. A cancel of the work becomes its reason; one of this task goes on up."""
        me = asyncio.current_task()
        try:
            artifact = await work
        except asyncio.CancelledError:
            if me is None or me.cancelling():
                raise
            raise ticket.cancellation or JobCancelled("the work was ended", retryable=True) from None
        if me is not None and me.cancelling():
            raise asyncio.CancelledError
        return artifact

    async def _work(self, ticket: Ticket, relay: LinkProgress) -> Artifact:
        """The work task. Progress that comes after it has nowhere to go."""
        try:
            ticket.work_dir = work_dir = self._work_dirs.make()
            return await self._made(ticket, work_dir, relay)
        finally:
            relay.close()

    async def _made(self, ticket: Ticket, work_dir: Path, relay: LinkProgress) -> Artifact:
        """Materials, engine, check."""
        plan = ticket.plan
        files, inputs = await self._materials(ticket, work_dir, relay)
        if plan.is_light:
            self._journal.start(ticket.entry)
        else:
            await self._journal.committed(ticket.entry)
        begin = self._clock.monotonic()
        call = EngineCall(
            job_id=plan.job_id,
            route=plan.route,
            task=plan.task,
            model=files,
            inputs=inputs,
            seed=plan.seed,
            work_dir=work_dir,
            on_progress=relay,
            on_chunk=ticket.link.on_chunk,
        )
        output = await (self._host.run(call) if plan.is_light else self._run_within_limits(ticket, call))
        if isinstance(output.result, (LlmResult, TranscriptResult)) and plan.origin == "studio":
            # No studio is told the meta of a JSON result.
            return inspect_json(plan.kind, output.result, {})
        meta = generation_meta(plan, output.meta, self._clock.monotonic() - begin)
        if is_quickly_inspected(output.result, inputs):
            return inspect(plan.task, output.result, meta, inputs)
        return await asyncio.to_thread(inspect, plan.task, output.result, meta, inputs)

    async def _run_within_limits(self, ticket: Ticket, call: EngineCall) -> EngineOutput:
        """Run where there is room for the model, and end what hangs; what is slow goes on."""
        route = call.route
        async with AsyncExitStack() as held:
            room = await held.enter_async_context(self._admission.room(route, call.model))
            stages = StageWatch(self._limits, self._clock, model_bytes=room.size_bytes)
            with StageTimer(stages, self._clock, lambda late: self._host.end_job(call.job_id, str(late))) as timer:
                watch = RunWatch(timer, room.loaded, call.on_progress)
                call = replace(call, model=room.model, on_progress=watch.progress, watch=watch)
                try:
                    output = await self._host.run(call)
                except BaseException:
                    # The call is over; the engine may be at it still, with the memory and the device of this room.
                    ticket.room = held.pop_all()
                    raise
        self._quarantine.succeeded(route.engine, route.model)
        return output

    async def _materials(
        self, ticket: Ticket, work_dir: Path, relay: LinkProgress
    ) -> tuple[ModelFiles, Mapping[str, Path]]:
        """Model and inputs side by side; the first failure ends the other."""
        plan = ticket.plan
        if not plan.inputs:
            return await self._model(ticket, relay), {}
        async with asyncio.TaskGroup() as group:
            files = group.create_task(self._model(ticket, relay), name=f"model-{plan.job_id}")
            inputs = group.create_task(self._inputs(plan, work_dir), name=f"inputs-{plan.job_id}")
        return files.result(), inputs.result()

    async def _inputs(self, plan: Plan, work_dir: Path) -> Mapping[str, Path]:
        """The inputs by role, pictures in a form that every engine reads."""
        fetched = await fetch_inputs(plan.inputs, self._fetcher, work_dir)
        return await asyncio.to_thread(settle_pictures, plan.inputs, fetched)

    async def _model(self, ticket: Ticket, relay: LinkProgress) -> ModelFiles:
        """The model's files, in use until the work ends, however it ends."""
        plan = ticket.plan
        if plan.files is not None:
            files = await self._store.provision_local(plan.model, plan.source, plan.options, plan.files)
        elif plan.source is None:
            return ModelFiles(id=plan.model, options=plan.options)
        else:
            files = await self._store.provision(
                plan.model,
                plan.source,
                plan.options,
                on_progress=lambda done, total: relay(done, total or 0, "download", None),
            )
        if files.files and ticket.work is not None:
            ticket.work.add_done_callback(lambda _: self._store.release(files))
        return files

    async def _kept(self, ticket: Ticket, artifact: Artifact) -> Kept:
        """The result, safe from the end of the job's folder: in the spool, or with its bytes for a local caller."""
        if ticket.plan.origin == "studio":
            return await self._journal.keep(ticket.entry, artifact)
        if isinstance(artifact.data, Path):
            artifact = replace(artifact, data=await asyncio.to_thread(artifact.data.read_bytes))
        return Kept(entry=ticket.entry, artifact=artifact, kept_at=self._clock.monotonic())

    def _hand_over(self, ticket: Ticket, kept: Kept) -> None:
        ticket.is_ended = True
        # The studio's next offer may come as soon as it reads the result, so the seat is free before that is sent.
        ticket.seat.leave()
        if ticket.plan.origin == "studio":
            # The job may have been adopted with another attempt while its result was being kept.
            if kept.entry.attempt != ticket.link.attempt:
                kept = replace(kept, entry=replace(kept.entry, attempt=ticket.link.attempt))
            self._delivery.post(kept, ticket.link)
        else:
            ticket.link.complete(kept)
            self._chronicle.delivered(kept)
        if self._host.has_job_hooks:
            seconds = self._clock.monotonic() - ticket.entry.accepted_at
            self._host.job_finished(ticket.plan.info, Outcome("done", seconds))


def generation_meta(plan: Plan, engines: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What goes with a binary result as `generationMeta`; the engine's own notes are left out where they are huge."""
    core = {"seed": plan.seed, "engine": plan.route.engine.name, "model": plan.model, "seconds": round(seconds, 3)}
    if engines and len(dumps_lossy(engines)) > MAX_META_CHARS:
        logger.bind(event="jobs.meta", job_id=plan.job_id, engine=core["engine"]).warning(
            "An engine's meta is too large to go with its result"
        )
        return core
    return {**engines, **core}
