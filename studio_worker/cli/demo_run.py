"""One run of the demo: queues its jobs at a studio, follows them, fetches every result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from studio_worker.cli.demo_jobs import DemoJob
from studio_worker.cli.jobs_watch import ENDED
from studio_worker.cli.studio_admin import StudioAdmin, StudioSaysNo
from studio_worker.text import escape
from studio_worker.wire.strict_json import dumps_lossy

LOOK_SECS = 0.2


class Display(Protocol):
    """Shows how far the jobs are."""

    def show(self, job: Mapping[str, Any]) -> None:
        """Take a job as the studio sees it now."""
        ...


class DemoRun:
    """Queues jobs, follows them to their end, writes their results.

    Args:
        admin: the studio; its blocking calls run in threads.
        jobs: what to queue.
        out: where results go, one file a job.
        display: shown each job at each look.
        timeout_secs: jobs that are not done by then count as failed.
    """

    def __init__(
        self, admin: StudioAdmin, jobs: Sequence[DemoJob], out: Path, display: Display, *, timeout_secs: float
    ) -> None:
        self._admin = admin
        self._jobs = {job.id: job for job in jobs}
        self._out = out
        self._display = display
        self._timeout_secs = timeout_secs
        self._seconds: dict[str, float] = {}

    async def play(self) -> list[dict[str, Any]]:
        """A row for each job, in the order of the file: what ran it, how long it took, where its result lies.

        Raises:
            StudioSaysNo: the studio does not take a job; the sentence names it.
        """
        begin = time.monotonic()
        for job in self._jobs.values():
            await asyncio.to_thread(self._add, job)
        found = await self._follow(begin)
        return [await asyncio.to_thread(self._row, job, found.get(job.id, {})) for job in self._jobs.values()]

    def _add(self, job: DemoJob) -> None:
        try:
            self._admin.add(job.line)
        except StudioSaysNo as error:
            hint = "; the folder of --keep holds an earlier demo, name another" if error.status == 409 else ""
            raise StudioSaysNo(error.status, f"job {job.id}: {error}{hint}") from None

    async def _follow(self, begin: float) -> dict[str, dict[str, Any]]:
        while True:
            found = {str(job["jobId"]): job for job in await asyncio.to_thread(self._admin.jobs, self._jobs)}
            for job_id in self._jobs:
                if (job := found.get(job_id)) is not None and job_id not in self._seconds:
                    self._display.show(job)
                    if job.get("state") in ENDED:
                        self._seconds[job_id] = time.monotonic() - begin
            if len(self._seconds) == len(self._jobs) or time.monotonic() - begin > self._timeout_secs:
                return found
            await asyncio.sleep(LOOK_SECS)

    def _row(self, asked: DemoJob, job: Mapping[str, Any]) -> dict[str, Any]:
        state = str(job.get("state", "unknown"))
        error = job.get("error")
        file: Path | None = None
        if state == "done":
            file = self._out / f"{asked.id.replace(':', '_')}.{_ext(job)}"
            file.write_bytes(self._admin.result(asked.id))
        elif not error:
            error = f"not done after {self._timeout_secs:g} s"
        return {
            "job": asked.id,
            "kind": asked.kind.value,
            "engine": asked.engine,
            "state": state,
            "seconds": _seconds(job),
            "file": str(file) if file else None,
            "result": " - ".join(part for part in (asked.note, _shown(job) or error) if part),
        }


def _ext(job: Mapping[str, Any]) -> str:
    return {"image/jpeg": "jpg", "audio/mpeg": "mp3"}.get(
        str(job.get("resultType")), str(job.get("resultType") or "/json").rpartition("/")[2]
    )


def _seconds(job: Mapping[str, Any]) -> float | None:
    """From the acceptance to the stored result, by the studio's clock."""
    from datetime import datetime

    try:
        begin, end = (datetime.fromisoformat(str(job[name])) for name in ("startedAt", "finishedAt"))
    except (KeyError, ValueError):
        return None
    return round((end - begin).total_seconds(), 2)


def _shown(job: Mapping[str, Any]) -> str:
    """What a text result says: the sentence of a transcript, the answer of a completion."""
    result = job.get("result")
    if not isinstance(result, dict):
        return ""
    if isinstance(result.get("text"), str):
        return escape(result["text"].strip(), limit=200)
    try:
        said = result["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        said = None
    return escape(said.strip() if isinstance(said, str) else dumps_lossy(result), limit=200)
