"""What each engine is to one job: the one that runs it, or why it is not that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Route
from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True)
class EngineVerdict:
    """One engine and one job.

    Attributes:
        engine: the engine.
        is_chosen: whether it runs the job.
        why: why it does or does not, as the end of a sentence that begins with its name.
    """

    engine: EngineDescription
    is_chosen: bool
    why: str


def verdicts(
    engines: Sequence[EngineDescription], kind: TaskKind, model: str, source_id: str | None, route: Route | None
) -> tuple[EngineVerdict, ...]:
    """A verdict an engine, the chosen one first, in the order of `engines` otherwise.

    Args:
        engines: all engines of this worker.
        kind: what is to be made.
        model: the model id.
        source_id: the claim's source id; None where there is no source.
        route: the router's choice; None where it refused.
    """
    found = []
    for engine in engines:
        is_chosen = route is not None and route.engine.key == engine.key
        found.append(EngineVerdict(engine, is_chosen, _why(engine, kind, model, source_id, route)))
    return tuple(sorted(found, key=lambda verdict: not verdict.is_chosen))


def _why(engine: EngineDescription, kind: TaskKind, model: str, source_id: str | None, route: Route | None) -> str:
    if engine.status != "available":
        return f"is {engine.status}" + (f": {engine.reason}" if engine.reason else "")
    if source_id is not None and source_id not in engine.sources:
        served = ", ".join(engine.sources)
        return f"serves {f'the sources {served}' if served else 'no source'}, not {source_id!r}"
    if kind not in engine.models:
        kinds = ", ".join(served.value for served in engine.kinds)
        return f"serves {kinds or 'no kind'}, not {kind.value}"
    if source_id is None and model not in engine.models[kind]:
        return f"does not advertise the model {model!r} for {kind.value}, and the job names no source"
    what = f"source {source_id!r} for {kind.value}" if source_id is not None else f"model {model!r} for {kind.value}"
    if route is None or route.engine.key == engine.key:
        return f"serves {what}"
    return f"serves {what} too; {route.engine.name!r} comes first (engine_preferences decides otherwise)"
