"""What an engine says of itself, as plain JSON values, made where the engine lives. Imports nothing heavy.

The report is only gathered and bounded here; `engines.description` decides what of it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeAlias

from studio_worker.engines.base import Available, Engine, EngineCapabilities, Unavailable
from studio_worker.engines.deprecations import used_by
from studio_worker.engines.needs import Needs

MAX_ENGINES = 64
"""Engines of one plugin."""

MAX_MODELS = 10_000
"""Model ids that one engine may advertise, over all kinds."""

MAX_TEXT = 4_000
"""Characters of any text of a report that is no model id."""

MAX_PLACE = 80
"""Characters of a file's name where an exception's place is told."""

Report: TypeAlias = dict[str, Any]
"""One engine's own words: the keys of `report_of`."""


def report_of(engine: object) -> Report:
    """Everything that an engine says of itself.

    `availability` that raises makes the engine unavailable with that reason; `capabilities` that raises raises.
    One model id more than allowed is handed on, so that the reader sees that there are too many.
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"studio_worker_engines returned {no_engine(engine)}")
    return {
        "name": _text(engine.name),
        "sources": _list(engine.sources, MAX_ENGINES),
        "isolation": _text(engine.isolation),
        "concurrency": _number(engine.concurrency),
        "api_version": _number(engine.api_version),
        "deterministic": bool(engine.deterministic),
        "models": _models(engine.capabilities()),
        "unavailable": _unavailable(engine),
        "needs": _needs(engine.needs),
        "deprecated": used_by(engine),
    }


def _models(capabilities: object) -> dict[str, Any]:
    if not isinstance(capabilities, EngineCapabilities):
        return type_of(capabilities)
    room = MAX_MODELS + 1
    models: dict[str, Any] = {}
    for kind, ids in capabilities.models.items():
        models[str(kind)] = [_text(model_id) for model_id in islice(ids, room)]
        room -= len(models[str(kind)])
    return models


def _unavailable(engine: Engine) -> dict[str, str] | None:
    try:
        answer: object = engine.availability()
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises here is its reason
        return {"reason": f"availability() raised {said(error)}", "remedy": ""}
    if isinstance(answer, Available):
        return None
    if isinstance(answer, Unavailable):
        # What is no text says nothing.
        said_words = {"reason": _text(answer.reason), "remedy": _text(answer.remedy)}
        return {key: words if isinstance(words, str) else "" for key, words in said_words.items()}
    reason = f"availability() returned a {type(answer).__name__}, Available() or Unavailable(reason, remedy) is needed"
    return {"reason": reason, "remedy": ""}


def _needs(needs: object) -> dict[str, Any] | None:
    if needs is None:
        return None
    if not isinstance(needs, Needs):
        return type_of(needs)
    return {
        "gpu": None if needs.gpu is None else _text(needs.gpu),
        "vram_bytes": _number(needs.vram_bytes),
        "ram_bytes": _number(needs.ram_bytes),
        "platforms": _list(needs.platforms, MAX_ENGINES),
    }


def said(error: BaseException) -> str:
    """An exception as `Type: message`, also where its own `__str__` fails."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception of a stranger; its type still says something
        message = "(its message cannot be read)"
    name = type(error).__name__
    return f"{name}: {message[:MAX_TEXT]}" if message else name


def place_of(error: BaseException, module: str) -> str:
    """Where in a plugin an exception came from, as ``studio_worker_fox/__init__.py, line 3``; "" if nowhere there.

    Args:
        error: as it was caught.
        module: a module of the plugin; its whole top-level package counts as the plugin's own.
    """
    package = module.partition(".")[0]
    place = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__")
        if isinstance(name, str) and name.partition(".")[0] == package:
            path = PurePath(trace.tb_frame.f_code.co_filename)
            # No more of the path than the module's own name tells: the rest is the operator's.
            depth = name.count(".") + (2 if path.name == "__init__.py" else 1)
            place = f"{'/'.join(path.parts[1:][-depth:])[-MAX_PLACE:]}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def no_engine(value: object) -> str:
    """What stands where an engine is needed, and what is needed, for sentences."""
    if isinstance(value, type) and issubclass(value, Engine):
        return f"the class {value.__name__}, an Engine is needed: {value.__name__}()"
    return f"a {type(value).__name__}, an Engine is needed"


def type_of(value: object) -> dict[str, Any]:
    """What stands in a report in the place of a value of the wrong type."""
    return {"type": type(value).__name__}


def _text(value: object) -> str | dict[str, Any]:
    return value[:MAX_TEXT] if isinstance(value, str) else type_of(value)


def _number(value: object) -> int | dict[str, Any]:
    return value if isinstance(value, int) and not isinstance(value, bool) else type_of(value)


def _list(value: object, limit: int) -> list[Any] | dict[str, Any]:
    if isinstance(value, str):
        return [_text(value)]
    return [_text(item) for item in islice(value, limit + 1)] if isinstance(value, Iterable) else type_of(value)
