"""How far the demo's jobs are: live bars where somebody looks on, a line for each change elsewhere; on stderr."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from studio_worker.cli import output
from studio_worker.text import escape

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class LineDisplay:
    """One line whenever a job's state changes."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, job: Mapping[str, Any]) -> None:
        """Take a job as the studio sees it now."""
        job_id, state = str(job.get("jobId")), str(job.get("state"))
        if self._states.get(job_id) != state:
            self._states[job_id] = state
            output.note(f"{job_id}: {state}" + (f": {job['error']}" if job.get("error") else ""))


class BarDisplay:
    """A bar for each job."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, job: Mapping[str, Any]) -> None:
        """Take a job as the studio sees it now."""
        job_id, state = str(job.get("jobId")), str(job.get("state"))
        if job_id not in self._tasks:
            self._tasks[job_id] = self._bars.add_task(escape(job_id, limit=40), total=1.0, start=False, state=state)
        bar = self._tasks[job_id]
        if state == "claimed":
            self._bars.start_task(bar)
        progress = job.get("progress") or {}
        stage = f"{state} {progress['stage']}" if progress.get("stage") and state == "claimed" else state
        if state == "done":
            self._bars.update(bar, completed=1.0, state=stage)
        elif progress.get("total"):
            self._bars.update(bar, completed=progress["step"] / progress["total"], state=escape(stage, limit=40))
        else:
            self._bars.update(bar, state=stage)
        if state in ("done", "failed", "cancelled"):
            self._bars.stop_task(bar)


def display() -> LineDisplay | BarDisplay:
    """The display that fits stderr."""
    return BarDisplay() if output.has_live_stderr() else LineDisplay()
