"""What a running worker is doing, as JSON values without secrets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from studio_worker.config import Config
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.quarantine import Quarantined
from studio_worker.engines.router import Routes
from studio_worker.jobs.ticket import JobSnapshot
from studio_worker.machine import Machine
from studio_worker.runtime import Runtime
from studio_worker.version import __version__


def snapshot(
    config: Config,
    machine: Machine,
    engines: Sequence[EngineDescription],
    routes: Routes,
    runtime: Runtime | None,
) -> dict[str, Any]:
    """One look at the worker, as ``GET /daemon/status`` answers it.

    Args:
        config: the settings of this moment.
        machine: what was found at the start.
        engines: every engine that was found.
        routes: what is served.
        runtime: the running parts, as they are or as they ended; None before the start.
    """
    out: dict[str, Any] = {
        "version": __version__,
        "pid": os.getpid(),
        "configPath": str(config.config_path) if config.config_path else None,
        "stateDir": str(config.state_path),
        "apiBaseUrl": config.api_base_url,
        "vramTotalGb": round(machine.vram_total_gb, 3),
        "vramThresholdGb": config.vram_threshold_gb,
        "kinds": [kind.value for kind in routes.task_kinds],
        "engines": [{"name": each.name, "status": each.status, "reason": each.reason} for each in engines],
    }
    if runtime is None:
        return out
    jobs = runtime.jobs.desk.jobs()
    return out | {
        "readiness": runtime.readiness().to_json(),
        "quarantined": [_pair(pair) for pair in runtime.quarantined],
        "speeds": [speed.to_json() for speed in runtime.speeds],
        "paused": runtime.jobs.desk.is_paused,
        "draining": runtime.jobs.desk.is_closed,
        "busy": bool(jobs),
        "trouble": None if (trouble := runtime.jobs.desk.trouble) is None else trouble.code,
        "registration": _registration(runtime),
        "session": runtime.keeper.snapshot().to_json() if runtime.keeper else {"state": "local_only"},
        "currentJobId": runtime.jobs.desk.current_job_id,
        "activeJobs": [_job(job) for job in jobs],
        "deliveries": {"pending": runtime.jobs.delivery.pending, "waiting": runtime.jobs.delivery.waiting},
    }


def _pair(pair: Quarantined) -> dict[str, Any]:
    return {"engine": pair.engine, "model": pair.model, "deaths": pair.deaths, "retryInSecs": pair.secs_left}


def _registration(runtime: Runtime) -> dict[str, Any]:
    if runtime.registrar is None:
        return {"state": "local_only"}
    standing = runtime.registrar.registration
    known = standing.credentials
    return {
        "state": standing.phase,
        "requestId": known.registration_request_id,
        "since": known.registration_requested_at,
        "workerId": known.worker_id,
        "detail": standing.detail,
    }


def _job(job: JobSnapshot) -> dict[str, Any]:
    progress = job.progress
    return {
        "jobId": job.job_id,
        "kind": job.kind.value,
        "model": job.model,
        "engine": job.engine,
        "origin": job.origin,
        "seconds": round(job.seconds, 3),
        "progress": {"step": progress.step, "total": progress.total, "stage": progress.stage} if progress else None,
    }
