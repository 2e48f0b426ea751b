"""Engines that an embedder gives: objects, or ``"package.module:factory"``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from studio_worker.engines.base import Engine
from studio_worker.engines.description import EngineDescription, read_reports
from studio_worker.engines.loading import engines_of
from studio_worker.engines.self_report import no_engine, report_of, said
from studio_worker.errors import PluginError
from studio_worker.log import logger


@dataclass(frozen=True)
class GivenEngine:
    """An engine of the embedder's with its description.

    Attributes:
        description: what it says of itself.
        engine: the engine.
        factory: ``package.module:factory`` where it was given so; what a child builds it from.
        index: its place among what the factory makes.
    """

    description: EngineDescription
    engine: Engine
    factory: str | None = None
    index: int = 0


def take_given(engines: Sequence[Engine | str]) -> tuple[GivenEngine, ...]:
    """Describe the embedder's engines, in this process: they are its own code.

    An object that asks for a process runs in a thread, and a warning says so; give ``"package.module:factory"`` to
    get one. A factory returns an engine, or several.

    Raises:
        PluginError: one of them cannot be imported, is no engine, or breaks a rule of descriptions.
    """
    found: list[tuple[Engine, str | None, int]] = []
    for item in engines:
        if isinstance(item, str):
            found += [(engine, item, index) for index, engine in enumerate(_made(item))]
        elif isinstance(item, Engine):
            found.append((item, None, 0))
        else:
            raise PluginError(f"the worker was given {no_engine(item)}, or 'package.module:factory'")
    return tuple(
        GivenEngine(_described(engine, position, factory is not None), engine, factory, index)
        for position, (engine, factory, index) in enumerate(found)
    )


def _made(path: str) -> list[Engine]:
    try:
        return engines_of(path)
    except Exception as error:
        raise PluginError(f"the engine {path!r} cannot be made: {said(error)}") from error


def _described(engine: Engine, position: int, is_importable: bool) -> EngineDescription:
    try:
        report = report_of(engine)
    except Exception as error:
        raise PluginError(f"the engine {type(engine).__name__} cannot be described: {said(error)}") from error
    is_builtin = type(engine).__module__.startswith("studio_worker.engines.synthetic")
    (description,) = read_reports([report], EngineDescription(name=type(engine).__name__), is_builtin=is_builtin)
    if description.status == "broken":
        raise PluginError(f"the engine {type(engine).__name__} cannot be used: {description.reason}")
    if description.isolation == "process" and not is_importable:
        logger.bind(event="engine.given", engine=description.name).warning(
            "An engine given as an object asks for a process; it runs in a thread"
        )
        description = replace(description, isolation="thread")
    return replace(description, position=position)
