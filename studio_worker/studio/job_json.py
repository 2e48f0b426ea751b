"""A job as it is asked for, a line of a jobs file, and as the admin routes show it."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from studio_worker.studio.answers import BadField
from studio_worker.studio.links import needed_results
from studio_worker.studio.peer import Roster
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import Job, JobState, NewJob
from studio_worker.text import escape
from studio_worker.wire.claims import is_job_id, parse_claim
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import SttTask, Task, whole_prompt
from studio_worker.wire.urls import PREFIX

MAX_TITLE = 160
"""Characters of a title."""


def job_to_json(job: Job, roster: Roster, origin: str = "") -> dict[str, Any]:
    """The job's members, absent ones left out; `resultUrl` is absolute where an origin is given."""
    holder = roster.holder(job.id)
    held = holder.held[job.id] if holder else None
    out: dict[str, Any] = {
        "jobId": job.id,
        "state": job.state.value,
        "attempts": job.attempts,
        "model": job.model,
        "kind": job.kind,
        "engine": job.engine,
        "task": job.task,
        "modelSource": job.model_source,
        "vramGbEstimate": job.vram_gb_estimate,
        "workerId": job.worker_id,
        "error": job.error,
        "prompt": job.prompt,
        "createdAt": job.created_at,
        "startedAt": (held.accepted_at if held else None) or job.started_at,
        "finishedAt": job.finished_at,
    }
    if held is not None and held.progress is not None:
        progress = held.progress
        out["progress"] = {"step": progress.step, "total": progress.total, "stage": progress.stage}
        if progress.preview is not None:
            out["previewUrl"] = f"{origin}{PREFIX}/jobs/{quote(job.id, safe='')}/preview?v={progress.version}"
    if job.blob is not None:
        out |= {
            "resultUrl": f"{origin}{PREFIX}/jobs/{quote(job.id, safe='')}/result",
            "resultType": job.media_type,
            "resultBytes": job.blob_bytes,
            "generationMeta": job.meta,
        }
    out = {name: value for name, value in out.items() if value is not None}
    if job.has_result:
        out["result"] = job.result
    return out


async def job_from_json(body: dict[str, Any], store: Store) -> NewJob:
    """A line of jobs.jsonl as a job to queue.

    The task and the source are kept as they came (nulls left out), since a field that the task does not carry
    takes the source's default (protocol section 4).

    Raises:
        BadClaim, BadField: naming the field.
    """
    job_id = body.get("id")
    if job_id is None:
        job_id = f"job-{uuid.uuid4().hex[:16]}"
    if not isinstance(job_id, str) or not is_job_id(job_id):
        raise BadField("id", "must be 1 to 128 of A-Z a-z 0-9 . _ : -, not starting with a dot or colon")
    raw: dict[str, Any] = {name: body.get(name) for name in ("model", "task", "modelSource", "vramGbEstimate")}
    if raw["modelSource"] is None:
        await _from_registry(raw, store)
    claim = parse_claim({"jobId": job_id, **raw})
    task = {name: value for name, value in raw["task"].items() if value is not None}
    needs = await _needs(task, store)
    return NewJob(
        id=job_id,
        model=claim.model,
        kind=claim.task.kind.value,
        engine=claim.source.engine,
        task=task,
        model_source={name: value for name, value in raw["modelSource"].items() if value is not None},
        vram_gb_estimate=claim.vram_gb_estimate,
        needs=needs,
        title=title_of(claim.task),
    )


def title_of(task: Task) -> str:
    """What a task is about, on one short line for a list."""
    if isinstance(task, SttTask):
        source = "a sound" if task.input_url[:5].lower() == "data:" else task.input_url.removeprefix("result:")
        text = f"Write down {source}"
    else:
        text = whole_prompt(task)
    return escape(text.strip(), limit=MAX_TITLE)


async def _from_registry(raw: dict[str, Any], store: Store) -> None:
    model = await store.model(raw["model"]) if isinstance(raw["model"], str) else None
    if model is None:
        return
    if not model.enabled:
        raise BadField("model", f"{model.id!r} is switched off in the registry")
    task = raw["task"]
    if isinstance(task, dict) and task.get("kind") != model.kind:
        raise BadField("task.kind", f"the registry knows {model.id!r} as a model of kind {model.kind}")
    raw["modelSource"] = model.model_source
    if raw["vramGbEstimate"] is None:
        raw["vramGbEstimate"] = model.vram_gb_estimate


async def _needs(task: dict[str, Any], store: Store) -> tuple[str, ...]:
    found = needed_results(task)
    for name, needed_id in found.items():
        needed = await store.job(needed_id) if is_job_id(needed_id) else None
        if needed is None:
            raise BadField(f"task.{name}", f"there is no job {needed_id[:128]!r}; queue it first")
        if not TaskKind(needed.kind).is_binary:
            raise BadField(f"task.{name}", f"job {needed_id} is of kind {needed.kind}, and its result is no file")
        if needed.state in (JobState.FAILED, JobState.CANCELLED):
            raise BadField(f"task.{name}", f"job {needed_id} is {needed.state.value}, so its result will not come")
    return tuple(dict.fromkeys(found.values()))
