"""Engines that an embedder gives: objects, or ``"package.module:factory"``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from studio_worker.ending import first_error
from studio_worker.engines import describing
from studio_worker.engines.base import Engine
from studio_worker.engines.description import EngineDescription, read_reports
from studio_worker.engines.loading import Workshop
from studio_worker.engines.plugins import TIMEOUT_SECS
from studio_worker.engines.self_report import no_engine, report_of, said
from studio_worker.errors import PluginError
from studio_worker.log import logger

BUILT_IN = "studio_worker.engines.synthetic"


@dataclass(frozen=True)
class GivenEngine:
    """An engine of the embedder's with its description.

    Attributes:
        description: what it says of itself.
        build: gives the engine itself, for one that runs in this process; may import its package.
        factory: ``package.module:factory`` where it was given so; what a child builds it from.
        index: its place among what the factory makes.
    """

    description: EngineDescription
    build: Callable[[], Engine]
    factory: str | None = None
    index: int = 0


async def describe_factories(
    engines: Iterable[Engine | str], timeout_secs: float = TIMEOUT_SECS
) -> list[Engine | GivenEngine]:
    """The same engines in the same order, with each factory's in its place, as many asked side by side as cores.

    A factory is called in a child of its own, as an installed plugin is described: nothing of its package is imported
    here, and what hangs or ends its process harms nobody. It returns an engine, or several.

    Args:
        engines: objects, which are handed on, and factories.
        timeout_secs: for each factory.

    Raises:
        PluginError: a factory cannot be imported, makes no engine, or one that breaks a rule of descriptions.
    """
    cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def described(item: Engine | str) -> Sequence[Engine | GivenEngine]:
        if not isinstance(item, str):
            return [item]
        async with cores:
            return await _made(item, timeout_secs)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(described(item)) for item in engines]
    except ExceptionGroup as problems:
        raise first_error(problems) from None
    return [engine for task in tasks for engine in task.result()]


def take_given(engines: Iterable[Engine | GivenEngine]) -> tuple[GivenEngine, ...]:
    """Describe the embedder's objects, in this process: they are its own code. What is described already stays so.

    An object that asks for a process runs in a thread, and a warning says so; give ``"package.module:factory"`` to
    get one.

    Raises:
        PluginError: one of them is no engine, or breaks a rule of descriptions.
    """
    taken = [each if isinstance(each, GivenEngine) else _described(each) for each in engines]
    return tuple(
        replace(each, description=replace(each.description, position=position)) for position, each in enumerate(taken)
    )


async def _made(factory: str, timeout_secs: float) -> list[GivenEngine]:
    module = factory.partition(":")[0]
    if module == "__main__":
        raise PluginError(f"the engine {factory!r} cannot be made: another process imports no __main__, only a module")
    try:
        answer = await describing.describe(factory, {}, timeout_secs=timeout_secs, is_factory=True)
    except PluginError as problem:
        raise PluginError(f"the engine {factory!r} cannot be made: {problem}") from None
    except OSError as error:
        raise PluginError(f"the process that describes {factory!r} could not be started: {said(error)}") from error
    if not answer["engines"]:
        raise PluginError(f"the engine {factory!r} cannot be made: there is none in what it returned")
    shop = Workshop(factory)
    found = read_reports(answer["engines"], EngineDescription(name=factory), is_builtin=_is_builtin(module))
    for description in found:
        if description.status == "broken":
            raise PluginError(f"the engine {factory!r} cannot be used: {description.reason}")
    return [
        GivenEngine(description, partial(shop.engine, index, description.name), factory, index)
        for index, description in enumerate(found)
    ]


def _described(engine: Engine) -> GivenEngine:
    if not isinstance(engine, Engine):
        raise PluginError(f"the worker was given {no_engine(engine)}, or 'package.module:factory'")
    try:
        report = report_of(engine)
    except Exception as error:
        raise PluginError(f"the engine {type(engine).__name__} cannot be described: {said(error)}") from error
    (description,) = read_reports(
        [report], EngineDescription(name=type(engine).__name__), is_builtin=_is_builtin(type(engine).__module__)
    )
    if description.status == "broken":
        raise PluginError(f"the engine {type(engine).__name__} cannot be used: {description.reason}")
    if description.isolation == "process":
        logger.bind(event="engine.given", engine=description.name).warning(
            "An engine given as an object asks for a process; it runs in a thread"
        )
        description = replace(description, isolation="thread")
    return GivenEngine(description, lambda: engine)


def _is_builtin(module: str) -> bool:
    return module == BUILT_IN or module.startswith(f"{BUILT_IN}.")
