"""Where the kit runs an engine: the worker's own host, and beside each result what was seen of the run.

An engine that can be imported runs in a child, as one with isolation ``process`` does, so that its crash harms nobody
and all that the process holds is its own; one with isolation ``loop``, or given as an object, runs in this process.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any

from studio_worker.engines.base import AudioChunk, LlmResult, TextDelta, TranscriptResult
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.host import EngineCall, EngineOutput, Host
from studio_worker.engines.job_watch import Held
from studio_worker.engines.router import Routes
from studio_worker.errors import JobError
from studio_worker.fetch.data_urls import decode, is_data_url
from studio_worker.jobs.checks import inspect
from studio_worker.jobs.input_pictures import settle_pictures
from studio_worker.jobs.plan import LocalOrder, Plan, draw
from studio_worker.jobs.results import Artifact
from studio_worker.models.files import ModelFiles
from studio_worker.testing.conformance.limits import Limits
from studio_worker.testing.conformance.samples import Sample
from studio_worker.testing.conformance.subject import ADAPTER, Subject
from studio_worker.testing.conformance.watched import ESTIMATE, Watched
from studio_worker.wire.model_source import ModelSource

SEED = 1
"""The seed of a sample that names none."""

OF_THE_MOMENT = ("id", "created")
"""Fields of a completion that say which it is, and when it was made."""

_SETTLE_SECS = 15.0
"""How long beyond its bounds an engine is waited for; a process is ended long before."""


@dataclass(slots=True, kw_only=True)
class Ran:
    """One run of a sample.

    Attributes:
        sample: what was run.
        plan: the job, its defaults resolved; None where it is none that could be planned.
        output: what the host took from the engine; a file's bytes are in `data`.
        data: a binary result's bytes.
        error: the error that the job ended with.
        record: what was seen of the run where the engine lives; None where its process did not live to tell.
        chunks: the pieces of a stream.
        inputs: the inputs as the engine got them, there until the bench is closed.
        spoiled: files of the job that the engine has changed, by name.
        secs: from the call to its end.
        settled_secs: of a cancelled job, from the cancel to the moment in which the engine had let go.
    """

    sample: Sample
    plan: Plan | None = None
    output: EngineOutput | None = None
    data: bytes | None = None
    error: JobError | None = None
    record: Mapping[str, Any] | None = None
    chunks: list[TextDelta | AudioChunk] = field(default_factory=list)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    spoiled: list[str] = field(default_factory=list)
    secs: float = 0.0
    settled_secs: float | None = None

    @property
    def returned(self) -> Any:
        """The result as something that can be compared: bytes, or JSON."""
        if self.output is None:
            return None
        result = self.output.result
        return result.json if isinstance(result, (LlmResult, TranscriptResult)) else self.data

    @property
    def what_counts(self) -> Any:
        """`returned` without what tells one call from another."""
        value = self.returned
        if self.output is not None and isinstance(self.output.result, LlmResult):
            return {key: each for key, each in value.items() if key not in OF_THE_MOMENT}
        return value

    def inspect(self) -> Artifact:
        """The result as the worker would deliver it.

        Raises:
            ResultRejected: it would not be delivered.
        """
        assert self.output is not None, "only a result can be looked at"
        assert self.plan is not None, "what has a result was planned"
        result = self.output.result
        if not isinstance(result, (LlmResult, TranscriptResult)) and self.data is not None:
            # Its file may be another's by now.
            result = replace(result, data=self.data)
        return inspect(self.plan.task, result, {}, self.inputs)


class Workbench:
    """Runs samples of one engine.

    Args:
        subject: where the engine comes from.
        description: what it says of itself.
        limits: bounds.
        folder: a private folder for everything that runs need.
    """

    def __init__(self, subject: Subject, description: EngineDescription, limits: Limits, folder: Path) -> None:
        self._subject = subject
        self._limits = limits
        self._folder = folder
        self._records = folder / "records"
        self._records.mkdir(exist_ok=True)
        self.is_alone = subject.engine is None and description.isolation != "loop"
        self.deaths: list[str] = []
        self._host, self.description = self._watching(description)

    def _watching(self, description: EngineDescription) -> tuple[Host, EngineDescription]:
        """A host with the engine in it, watched."""
        if self._subject.engine is not None:
            host = self._new_host(given=Watched(self._subject.engine, self._records, is_alone=False))
            return host, host.descriptions[0]
        isolation = "process" if self.is_alone else description.isolation
        watched = replace(description, isolation=isolation, entry_point=ADAPTER, plugin="conformance")
        return self._new_host(watched, table=self._subject.adapter_table(str(self._records))), watched

    def _new_host(
        self, *descriptions: EngineDescription, given: Any = None, table: Mapping[str, Any] | None = None
    ) -> Host:
        return Host(
            descriptions,
            given=[given] if given is not None else (),
            tables={description.plugin: table or {} for description in descriptions},
            cancel_grace_secs=self._limits.cancel_secs + 1,
            on_death=lambda _engine, _model, why: self.deaths.append(why),
        )

    async def run(
        self, sample: Sample, *, host: Host | None = None, description: EngineDescription | None = None, **how: Any
    ) -> Ran:
        """Run a sample to its end.

        Args:
            sample: what to run.
            host: where; the bench's own, which keeps its model and its process, where none is given.
            description: the engine as that host knows it.
            how: `is_stream` follows the pieces; `marks` tell the watched engine what is wanted besides: ``cancel`` the
                job when the engine asks, ``count`` what is printed, note the ``traces``.
        """
        ran = Ran(sample=sample)
        try:
            call = await self._begin(ran, description or self.description, **how)
        except JobError as error:
            # As in the worker, a job that cannot be begun is one that fails.
            ran.error = error
            return ran
        await self._follow(ran, call, host or self._host)
        return ran

    async def run_cancelled(self, sample: Sample, *, after_secs: float) -> Ran:
        """Run a sample, cancel it while it runs, and wait until the engine has let go.

        Args:
            sample: what to run.
            after_secs: how long after its model was loaded to cancel it.
        """
        begun = asyncio.Event()
        ran = Ran(sample=sample)
        call = await self._begin(ran, self.description)
        call = replace(call, watch=_Begun(begun, after_secs))
        began = time.monotonic()
        running = asyncio.create_task(self._host.run(call))
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=self._limits.run_secs)
        waiting.cancel()
        was_at_work = not running.done()
        cancelled = time.monotonic()
        running.cancel()
        await asyncio.wait({running})
        if was_at_work:
            try:
                async with asyncio.timeout(self._limits.cancel_secs + _SETTLE_SECS):
                    await self._host.settled(call.job_id)
            except TimeoutError:
                # A thread that does not come back: nobody can end it.
                pass
            ran.settled_secs = time.monotonic() - cancelled
        if not running.cancelled() and (error := running.exception()) is not None and not isinstance(error, JobError):
            raise error
        ran.secs = time.monotonic() - began
        self._read(ran, call)
        return ran

    async def run_fresh(self, samples: Sequence[Sample]) -> list[Ran]:
        """Run samples as `run` does, in a host, and so a process and a load, of their own."""
        host, description = self._watching(self.description)
        try:
            return [await self.run(sample, host=host, description=description) for sample in samples]
        finally:
            await host.aclose()

    async def run_unwatched(self, sample: Sample, description: EngineDescription) -> Ran:
        """Run a sample exactly where and as the worker would, with nobody who looks on."""
        subject = self._subject
        if subject.engine is not None:
            host = self._new_host(given=subject.engine)
            description = host.descriptions[0]
        else:
            entry = {"entry_point": subject.entry_point, "plugin": "conformance"}
            description = replace(description, **entry)  # type: ignore[arg-type]  # both are texts
            host = self._new_host(description, table=subject.entry_table)
        try:
            return await self.run(sample, host=host, description=description)
        finally:
            await host.aclose()

    async def estimate(self, sample: Sample) -> Any:
        """What the engine says that a sample's model takes. Raises EngineError."""
        plan = self._plan(sample, self.description)
        return await self._host.estimate(plan.route, _model(plan, sample))

    def estimated(self) -> Mapping[str, Any] | None:
        """What the engine's `estimate` answered last, raw; None where it was never asked."""
        path = self._records / ESTIMATE
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    async def aclose(self) -> None:
        """End the engine."""
        await self._host.aclose()

    async def _begin(
        self,
        ran: Ran,
        description: EngineDescription,
        *,
        is_stream: bool = False,
        marks: Sequence[str] = (),
    ) -> EngineCall:
        sample = ran.sample
        ran.plan = plan = self._plan(sample, description)
        for mark in marks:
            (self._records / f"{plan.job_id}.{mark}").touch()
        work_dir = self._folder / f"work-{plan.job_id}"
        ran.inputs = inputs = await asyncio.to_thread(_copied_in, plan, sample, work_dir)
        return EngineCall(
            job_id=plan.job_id,
            route=plan.route,
            task=plan.task,
            model=_model(plan, sample),
            inputs=inputs,
            seed=plan.seed,
            work_dir=work_dir,
            on_progress=lambda *_: None,
            on_chunk=ran.chunks.append if is_stream else None,
        )

    def _plan(self, sample: Sample, description: EngineDescription) -> Plan:
        """The job, as the worker plans it."""
        order = LocalOrder(
            job_id=f"check-{token_hex(6)}",
            model=sample.model,
            task=sample.task,
            source=sample.source or ModelSource(engine=description.sources[0]),
            inputs=sample.inputs,
            files=sample.files or None,
            seed=sample.seed if sample.seed is not None else getattr(sample.task, "seed", None) or SEED,
        )
        return draw(order, Routes.build([description], {}), device=lambda _: None, rng=Random(SEED))  # noqa: S311 - a job's seed is no secret

    async def _follow(self, ran: Ran, call: EngineCall, host: Host) -> None:
        before = _marks(call)
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.run_secs):
                ran.output = await host.run(call)
        except JobError as error:
            ran.error = error
        except TimeoutError:
            ran.error = JobError(f"the job was not done within {self._limits.run_secs:g} s")
        ran.secs = time.monotonic() - began
        if ran.output is not None:
            ran.data = await asyncio.to_thread(_bytes_of, ran.output)
        self._read(ran, call)
        ran.spoiled = [name for name, mark in _marks(call).items() if before.get(name, mark) != mark]

    def _read(self, ran: Ran, call: EngineCall) -> None:
        path = self._records / f"{call.job_id}.json"
        if path.is_file():
            ran.record = json.loads(path.read_text("utf-8"))


class _Begun:
    """Sets an event so long after a model is loaded."""

    def __init__(self, begun: asyncio.Event, after_secs: float) -> None:
        self._begun = begun
        self._after_secs = after_secs

    def taken(self) -> None:
        """The load comes first."""

    def loaded(self, held: Held) -> None:
        """The engine begins in this moment."""
        asyncio.get_running_loop().call_later(self._after_secs, self._begun.set)


def _model(plan: Plan, sample: Sample) -> ModelFiles:
    files = {role: [path.absolute() for path in paths] for role, paths in sample.files.items()}
    folders = {path.parent for paths in files.values() for path in paths}
    return ModelFiles(
        id=plan.model,
        source=plan.source,
        files=files,
        options=plan.options,
        dir=folders.pop() if len(folders) == 1 else None,
    )


def _copied_in(plan: Plan, sample: Sample, work_dir: Path) -> dict[str, Path]:
    """The inputs in a new `work_dir`, pictures in the form in which the worker gives them."""
    work_dir.mkdir(mode=0o700)
    inputs = {}
    for role, path in sample.inputs.items():
        inputs[role] = work_dir / f"input-{role}"
        shutil.copyfile(path, inputs[role])
    for wanted in plan.inputs:
        if wanted.role not in inputs and is_data_url(wanted.url):
            inputs[wanted.role] = work_dir / f"input-{wanted.role}"
            inputs[wanted.role].write_bytes(decode(wanted.url, limit_bytes=wanted.limit_bytes).data)
    return settle_pictures([wanted for wanted in plan.inputs if wanted.role in inputs], inputs)


def _bytes_of(output: EngineOutput) -> bytes | None:
    data = getattr(output.result, "data", None)
    return data.read_bytes() if isinstance(data, Path) else data


def _marks(call: EngineCall) -> dict[str, tuple[int, int]]:
    """The job's files with what changes when they are written to; one that is gone has none."""
    paths = [*call.inputs.values(), *(path for paths in call.model.files.values() for path in paths)]
    marks = {}
    for path in paths:
        try:
            entry = path.stat()
        except OSError:
            marks[path.name] = (-1, -1)
        else:
            marks[path.name] = (entry.st_size, entry.st_mtime_ns)
    return marks
