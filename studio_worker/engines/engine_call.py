"""Everything that one run needs, and the job that its engine sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio_worker.engines.base import CancelFlag, EngineJob, ProgressCallback
from studio_worker.engines.job_watch import JobWatch
from studio_worker.engines.router import Route
from studio_worker.engines.working import ChunkCallback
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles
from studio_worker.wire.tasks import Task


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
        watch: told on the loop when the engine has taken the job, and when its model is loaded.
        on_chunk: told on the loop of the pieces of a result, in order, where the engine can stream it; the result comes
            as ever. None: the result alone is wanted.
    """

    job_id: str
    route: Route
    task: Task
    model: ModelFiles
    inputs: Mapping[str, Path]
    seed: int
    work_dir: Path
    on_progress: ProgressCallback
    on_chunk: ChunkCallback | None = None
    watch: JobWatch | None = None

    def to_job(self, progress: ProgressCallback, cancel: CancelFlag) -> EngineJob:
        """The job as the engine sees it."""
        return EngineJob(
            id=self.job_id,
            model=self.model.id,
            task=self.task,
            seed=self.seed,
            work_dir=self.work_dir,
            log=logger.bind(job_id=self.job_id, engine=self.route.engine.name),
            source=self.model.source,
            files=self.model.files,
            inputs=self.inputs,
            options=self.model.options,
            _on_progress=progress,
            _cancel=cancel,
            _watch=self.watch,
        )
