"""The jobs that `demo` queues: read from a file, and fitted to the engines and models that are really here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from studio_worker.cli.jobs_file import BadJobsFile, bad_line, job_lines
from studio_worker.engines.router import Routes
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.claims import is_job_id
from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One line to queue. `note` says why it does not run on the engine that the line first named."""

    line: dict[str, Any]
    note: str = ""

    @property
    def id(self) -> str:
        """The job's id at the studio."""
        return str(self.line["id"])

    @property
    def kind(self) -> TaskKind:
        """The kind of job."""
        return TaskKind(self.line["task"]["kind"])

    @property
    def engine(self) -> str:
        """The source id that the job names."""
        return str(self.line["modelSource"]["engine"])


def built_in_jobs() -> Path:
    """The file of real jobs that comes with studio-worker."""
    packaged = Path(str(resources.files("studio_worker.cli").joinpath("jobs.jsonl")))
    return packaged if packaged.is_file() else Path(__file__).parents[2] / "docs" / "examples" / "jobs.jsonl"


def read_jobs(path: Path) -> list[DemoJob]:
    """The jobs of a file, one JSON object a line; a line without an id gets one from its number.

    Raises:
        BadJobsFile: the file cannot be read, holds no job, or a line is no job; the line is named.
    """
    jobs: dict[str, DemoJob] = {}
    try:
        with path.open("rb") as file:
            for number, line in job_lines(file, str(path)):
                job = DemoJob({"id": f"job-{number}", **line})
                if (problem := _problem(job, jobs)) is not None:
                    raise bad_line(str(path), number, problem)
                jobs[job.id] = job
    except OSError as error:
        raise BadJobsFile(f"{escape(str(path))} cannot be read: {reason(error)}") from None
    return list(jobs.values())


def _problem(job: DemoJob, earlier: Collection[str]) -> str | None:
    """What the demo's own studio, whose model registry is empty, could not queue."""
    if not isinstance(job.line["id"], str) or not is_job_id(job.id):
        return "id: must be 1 to 128 ASCII letters, digits or . _ : - (the first no . or :)"
    if job.id in earlier:
        return "id: is the id of an earlier line too"
    if job.line.get("modelSource") is None:
        return "modelSource: is required"
    return None


def fitted(jobs: Sequence[DemoJob], routes: Routes, models: Path) -> list[DemoJob]:
    """The built-in jobs for what is installed here.

    A job whose engine or model file is missing is queued for the synthetic engine instead, openly: its note says
    what is missing, and the engine that really ran is shown everywhere.
    """
    return [_fit(job, routes, models) for job in jobs]


def _fit(job: DemoJob, routes: Routes, models: Path) -> DemoJob:
    missing = _missing(job, routes, models)
    if not missing:
        return job
    model = f"synthetic-{job.kind.removeprefix('audio_')}"
    return replace(
        job, line=job.line | {"model": model, "modelSource": {"engine": "synthetic", "files": []}}, note=missing
    )


def _missing(job: DemoJob, routes: Routes, models: Path) -> str:
    if job.engine not in routes.sources_per_kind.get(job.kind, ()):
        return f"no {job.engine} engine here: pip install studio-worker-{job.engine}"
    names = [file["filename"] for file in job.line["modelSource"].get("files", ())]
    absent = [name for name in names if not (models / name).is_file()]
    return f"{absent[0]} is not in {models}" if absent else ""
