"""What would become of a claim, and why, by the very code that takes claims; nothing is run, fetched or reserved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Routes
from studio_worker.engines.verdicts import EngineVerdict, verdicts
from studio_worker.errors import BadClaim, JobError
from studio_worker.jobs.plan import DeviceChoice, Plan, draw
from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a worker with these engines would do.

    Attributes:
        job_id: the claim's, as it was read.
        plan: what would be done; None where the claim is refused.
        refusal: why it is refused; None where it is not.
        engines: what each engine is to the job; empty where the claim says too little to ask them.
    """

    job_id: str
    plan: Plan | None
    refusal: JobError | None
    engines: tuple[EngineVerdict, ...] = ()


def explain(
    raw: dict[str, Any], engines: Sequence[EngineDescription], routes: Routes, device: DeviceChoice
) -> Explanation:
    """What `Desk.take` would make of a claim whose worker has a free seat.

    Args:
        raw: the claim as it was read.
        engines: all engines of the worker, those that cannot run included.
        routes: the routes over them.
        device: where the operator wants the models of a plugin's engines to run.
    """
    job_id = str(raw.get("jobId", ""))
    plan: Plan | None = None
    refusal: JobError | None = None
    try:
        plan = draw(raw, routes, device=device, rng=SystemRandom())
    except RecursionError:
        refusal = BadClaim("claim", "is nested too deeply")
    except JobError as error:
        refusal = error
    asked = _asked(raw)
    found = verdicts(engines, *asked, plan.route if plan else None) if asked is not None else ()
    return Explanation(job_id=job_id, plan=plan, refusal=refusal, engines=found)


def _asked(raw: dict[str, Any]) -> tuple[TaskKind, str, str | None] | None:
    """Kind, model and source id, as far as a claim that may be broken says them."""
    task, source, model = raw.get("task"), raw.get("modelSource"), raw.get("model")
    kind = task.get("kind") if isinstance(task, dict) else None
    source_id = source.get("engine") if isinstance(source, dict) else None
    if kind not in {each.value for each in TaskKind} or not isinstance(model, str):
        return None
    return TaskKind(kind), model, source_id if isinstance(source_id, str) else None
