"""An engine with somebody who looks on: it does what it does, and each of its runs is written down.

The record of a run is one JSON file in a folder of the kit's, there before the run's end is told; a run that takes its
process down leaves none.
"""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from studio_worker.engines.base import DECLARED, Available, Engine, EngineCapabilities, EngineJob, Estimate, Unavailable
from studio_worker.engines.self_report import said as said_of
from studio_worker.engines.warm import loads_models
from studio_worker.engines.working import streams
from studio_worker.models.files import ModelFiles
from studio_worker.testing.conformance.print_counter import PrintCounter
from studio_worker.testing.conformance.surroundings import changed, look
from studio_worker.testing.conformance.traces import take_traces
from studio_worker.testing.conformance.unloaded_models import UnloadedModels
from studio_worker.testing.conformance.watched_job import RunNotes, WatchedJob

ESTIMATE = "estimate.json"
"""Where the last answer of `estimate` is written down."""


class Watched(Engine):
    """`engine`, watched. It loads, unloads and streams only where the engine does.

    Args:
        engine: the engine.
        records: where its runs are written down.
        is_alone: whether the process is this engine's own; None: told by its isolation.
    """

    def __init__(self, engine: Engine, records: Path, *, is_alone: bool | None = None) -> None:
        self._engine = engine
        self._records = records
        self._is_alone = engine.isolation != "loop" if is_alone is None else is_alone
        self._shares = engine.isolation != "process"
        self._loads = self._unloads = 0
        self._load_changes: list[str] = []
        self._unloaded = UnloadedModels()
        for name in DECLARED:
            setattr(self, name, getattr(engine, name))
        # The host tells by these whether the engine has them.
        own = vars(self)
        if loads_models(engine):
            own["load"], own["unload"] = self._load, self._unload
        if streams(engine):
            own["stream"] = self._astream if inspect.isasyncgenfunction(engine.stream) else self._stream
        if inspect.iscoroutinefunction(engine.run):
            own["run"] = self._arun

    def capabilities(self) -> EngineCapabilities:
        """The engine's."""
        return self._engine.capabilities()

    def availability(self) -> Available | Unavailable:
        """The engine's."""
        return self._engine.availability()

    def estimate(self, model: ModelFiles) -> Estimate | None:
        """The engine's, written down."""
        said: dict[str, Any] = {"raised": "", "type": "", "ram_bytes": None, "vram_bytes": None}
        try:
            estimate = self._engine.estimate(model)
        except BaseException as error:
            _write(self._records / ESTIMATE, said | {"raised": said_of(error)})
            raise
        told = {name: getattr(estimate, name, None) for name in ("ram_bytes", "vram_bytes")}
        _write(self._records / ESTIMATE, said | {"type": type(estimate).__name__} | told)
        return estimate

    def run(self, job: EngineJob) -> Any:
        """The engine's, written down."""
        notes, watched = self._begin(job)
        try:
            result = self._engine.run(watched)
        except BaseException as error:
            self._end(job, watched, notes, error=error)
            raise
        self._end(job, watched, notes, result=result)
        return result

    async def _arun(self, job: EngineJob) -> Any:
        notes, watched = self._begin(job)
        try:
            result = await self._engine.run(watched)
        except BaseException as error:
            self._end(job, watched, notes, error=error)
            raise
        self._end(job, watched, notes, result=result)
        return result

    def _stream(self, job: EngineJob) -> Iterator[Any]:
        notes, watched = self._begin(job)
        piece: Any = None
        try:
            pieces = self._engine.stream(watched)
            for piece in pieces:  # type: ignore[union-attr]  # whatever is no iterator raises here, as in the host
                notes.pieces.append(type(piece).__name__)
                yield piece
        except BaseException as error:
            self._end(job, watched, notes, error=error)
            raise
        self._end(job, watched, notes, result=piece)

    async def _astream(self, job: EngineJob) -> AsyncIterator[Any]:
        notes, watched = self._begin(job)
        piece: Any = None
        try:
            async for piece in self._engine.stream(watched):  # type: ignore[union-attr]  # an async generator
                notes.pieces.append(type(piece).__name__)
                yield piece
        except BaseException as error:
            self._end(job, watched, notes, error=error)
            raise
        self._end(job, watched, notes, result=piece)

    def _load(self, model: ModelFiles) -> Any:
        before = look()
        self._loads += 1
        loaded = self._engine.load(model)
        self._load_changes = changed(before, look(), is_alone=not self._shares)
        return loaded

    def _unload(self, loaded: Any) -> None:
        self._unloads += 1
        self._engine.unload(loaded)
        self._unloaded.add(loaded)

    def _begin(self, job: EngineJob) -> tuple[RunNotes, WatchedJob]:
        notes = RunNotes(
            before=take_traces(owns_temp=self._is_alone) if self._is_marked(job, "traces") else None,
            surroundings=look(),
            began=time.monotonic(),
            cancels=self._is_marked(job, "cancel"),
        )
        watched = WatchedJob.of(job, notes)
        if self._is_marked(job, "count"):
            # Last: what fails before it leaves the descriptors where they are.
            notes.printing = PrintCounter()
        return notes, watched

    def _is_marked(self, job: EngineJob, mark: str) -> bool:
        """Whether the kit wants something special of this run."""
        return (self._records / f"{job.id}.{mark}").exists()

    def _end(
        self,
        job: EngineJob,
        watched: WatchedJob,
        notes: RunNotes,
        *,
        result: object = None,
        error: BaseException | None = None,
    ) -> None:
        secs = time.monotonic() - notes.began
        printed = notes.printing.close() if notes.printing is not None else 0
        job.meta = watched.meta
        record = {
            "pid": os.getpid(),
            "secs": secs,
            "returned": None if error is not None else type(result).__name__,
            "is_async": inspect.iscoroutinefunction(self._engine.run),
            "raised": None if error is None else type(error).__name__,
            "message": "" if error is None else said_of(error),
            "before": notes.before,
            "changed": changed(notes.surroundings, look(), is_alone=not self._shares) + self._load_changes,
            "altered": watched.altered(),
            "has_meta": watched.meta != {},
            "meta_problem": _meta_problem(watched.meta),
            "progress": notes.progress,
            "pieces": notes.pieces,
            "looked": notes.looked,
            "was_told": notes.was_told,
            "was_raised": notes.was_raised,
            "printed": printed,
            "loads": self._loads,
            "unloads": self._unloads,
            # Counting collects garbage, which takes a while: where traces are taken alone.
            "kept": self._unloaded.count_kept() if notes.before is not None else None,
            "can_tell_kept": self._unloaded.can_tell,
        }
        _write(self._records / f"{job.id}.json", record)


def _meta_problem(meta: object) -> str:
    from studio_worker.wire.base import free_object

    try:
        free_object(meta)
    except (ValueError, RecursionError) as error:
        return str(error) or type(error).__name__
    return ""


def _write(path: Path, record: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, default=repr), "utf-8")
    part.replace(path)
