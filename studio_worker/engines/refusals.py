"""Why no engine runs a job, and what to do about it, in one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.known import DISTRIBUTIONS, install_command
from studio_worker.errors import NoEngine, UnsupportedTask
from studio_worker.text import escape
from studio_worker.wire.kinds import TaskKind

_SHOWN_MODELS = 5


def refusal(
    engines: Sequence[EngineDescription], kind: TaskKind, model: str, source_id: str | None
) -> NoEngine | UnsupportedTask:
    """The error for a job that no engine of `engines` serves; never retryable.

    Args:
        engines: all engines of this worker, those that cannot run included.
        kind: what is to be made.
        model: the model id, as it came from outside.
        source_id: the claim's source id, as it came from outside; None where there is no source.
    """
    wanted = f"kind {kind.value}, model '{_shown(model)}'"
    if source_id is None:
        listing = [each for each in engines if each.status != "available" and model in each.models.get(kind, ())]
        why = "; ".join(map(_why_blocked, listing)) or _without_source(engines, kind)
        return NoEngine(f"no engine on this worker serves this job ({wanted}, no source): {why}")
    blocked = [engine for engine in engines if engine.status != "available" and _would_serve(engine, kind, source_id)]
    if blocked:
        return NoEngine(
            f"no engine for source '{_shown(source_id)}' ({wanted}): "
            + "; ".join(_why_blocked(engine) for engine in blocked)
        )
    serving = [engine for engine in engines if engine.status == "available" and source_id in engine.sources]
    if serving:
        kinds = dict.fromkeys(served.value for engine in serving for served in engine.kinds)
        names = ", ".join(engine.label for engine in serving)
        return UnsupportedTask(
            f"source '{_shown(source_id)}' is served by {names} for {', '.join(kinds)}, not for this job ({wanted})"
        )
    command = install_command(source_id)
    remedy = (
        f"install one: {command}"
        if command
        else "install a plugin that serves it; `studio-worker engines` lists what is here"
    )
    return NoEngine(f"no engine for source '{_shown(source_id)}' on this worker ({wanted}); {remedy}")


def _would_serve(engine: EngineDescription, kind: TaskKind, source_id: str) -> bool:
    if engine.sources:
        return source_id in engine.sources and kind in engine.models
    # A plugin that is broken or was never described has said nothing: its name is all there is to go by.
    return source_id in (engine.name, engine.plugin) or (
        DISTRIBUTIONS.get(source_id) in {engine.distribution, engine.environment} - {""}
    )


def _why_blocked(engine: EngineDescription) -> str:
    remedy = engine.remedy
    if engine.status == "disabled":
        remedy = "take it out of disabled_engines"
    elif engine.status == "broken" and not remedy:
        remedy = f"update or remove {engine.distribution}" if engine.distribution else ""
    reason = f" because {engine.reason}" if engine.reason and engine.status != "disabled" else ""
    return f"engine {engine.label} is {engine.status}{reason}" + (f"; remedy: {remedy}" if remedy else "")


def _without_source(engines: Sequence[EngineDescription], kind: TaskKind) -> str:
    serving = [engine for engine in engines if engine.status == "available" and kind in engine.models]
    if not serving:
        return f"nothing here serves {kind.value}; `studio-worker engines` lists what is here"
    sources = dict.fromkeys(source for engine in serving for source in engine.sources)
    # A label such as `onnx:*` stands for whatever a source names; it is no model to ask for.
    models = [model for engine in serving for model in engine.models[kind] if not model.endswith(":*")]
    more = f" and {len(models) - _SHOWN_MODELS:,} more" if len(models) > _SHOWN_MODELS else ""
    named = f", or one of the models {', '.join(models[:_SHOWN_MODELS])}{more}" if models else ""
    return f"name a source ({', '.join(list(sources)[:_SHOWN_MODELS])}){named}"


def _shown(text: str) -> str:
    return escape(text, limit=200)
