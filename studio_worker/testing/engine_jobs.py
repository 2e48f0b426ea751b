"""Jobs for tests of an engine's own code, without a worker around them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studio_worker.engines.base import CancelFlag, EngineJob
from studio_worker.log import logger
from studio_worker.wire.model_source import ModelSource
from studio_worker.wire.tasks import Task


@contextmanager
def engine_job(
    task: Task,
    *,
    model: str = "test",
    source: ModelSource | None = None,
    seed: int = 1,
    inputs: Mapping[str, bytes | Path] | None = None,
    files: Mapping[str, Sequence[Path]] | None = None,
    loaded: Any = None,
    is_cancelled: bool = False,
    progress: list[tuple[int, int, str]] | None = None,
) -> Iterator[EngineJob]:
    """A job as an engine gets it; its `work_dir` goes with the block.

    Args:
        task: what to make.
        model: the model id.
        source: the model source, None as for a local job without one.
        seed: the job's seed.
        inputs: input files by role; bytes are written to a file first.
        files: the model's files by role.
        loaded: what the engine's `load` would have returned.
        is_cancelled: whether somebody has asked the job to end.
        progress: takes step, total and stage of each report.
    """
    cancel = CancelFlag()
    if is_cancelled:
        cancel.set()
    with tempfile.TemporaryDirectory(prefix="studio-worker-job-") as folder:
        given: dict[str, Path] = {}
        for role, data in (inputs or {}).items():
            given[role] = data if isinstance(data, Path) else Path(folder) / f"input-{role}"
            if not isinstance(data, Path):
                given[role].write_bytes(data)
        yield EngineJob(
            id="test",
            model=model,
            task=task,
            seed=seed,
            work_dir=Path(folder),
            log=logger,
            source=source,
            files={role: list(paths) for role, paths in (files or {}).items()},
            inputs=given,
            loaded=loaded,
            _on_progress=lambda step, total, stage, _preview: (
                progress.append((step, total, stage)) if progress is not None else None
            ),
            _cancel=cancel,
        )
