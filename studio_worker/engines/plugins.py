"""Having each plugin described in a child of its own, so that a broken one harms nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from studio_worker.config.secrecy import plugin_secrets
from studio_worker.engines import describing
from studio_worker.engines.description import EngineDescription, broken, read_reports
from studio_worker.engines.description_cache import DescriptionCache
from studio_worker.engines.entry_points import PluginRef
from studio_worker.engines.interpreter import Interpreter
from studio_worker.engines.loading import JOB_HOOKS
from studio_worker.engines.self_report import report_of, said
from studio_worker.errors import PluginError
from studio_worker.log import logger
from studio_worker.masks import Masks
from studio_worker.text import escape

TIMEOUT_SECS = 10.0
"""How long a plugin may take to describe itself."""


def is_disabled(ref: PluginRef, disabled: Collection[str]) -> bool:
    """Whether the whole plugin is disabled, by its own, its distribution's or its environment's name: it is not run."""
    return bool({ref.name, ref.distribution, ref.environment} & set(disabled) - {""})


async def describe_each(
    plugins: Sequence[PluginRef],
    tables: Mapping[str, Mapping[str, Any]],
    timeout_secs: float = TIMEOUT_SECS,
    cache: DescriptionCache | None = None,
) -> list[tuple[EngineDescription, ...]]:
    """The engines of each plugin, in the plugins' order, as many asked side by side as there are cores.

    A plugin that cannot be described becomes one engine of status ``broken``, named after the plugin.

    Args:
        plugins: what `entry_points.list_plugins` found.
        tables: plugin name to the operator's ``[plugins.<name>]`` table.
        timeout_secs: for each plugin.
        cache: for commands that only list: what is unchanged since is taken from there.
    """
    cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def one(ref: PluginRef) -> tuple[EngineDescription, ...]:
        async with cores:
            return await _describe(ref, tables.get(ref.name, {}), timeout_secs, cache)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(ref)) for ref in plugins]
    found = [task.result() for task in tasks]
    if cache is not None:
        await asyncio.to_thread(cache.save)
    return found


async def _describe(
    ref: PluginRef, table: Mapping[str, Any], timeout_secs: float, cache: DescriptionCache | None
) -> tuple[EngineDescription, ...]:
    owner, masks = entry_of(ref), Masks(plugin_secrets({"": table}))
    try:
        if ref.is_builtin:
            return _read(_describe_builtin(), owner, is_builtin=True)
        key = "" if cache is None else await asyncio.to_thread(cache.key, ref, table)
        if cache is not None and (known := cache.get(key)) is not None:
            return _read(known, owner, is_builtin=False)
        answer = await describing.describe(
            ref.value, table, timeout_secs=timeout_secs, interpreter=Interpreter(ref.python)
        )
        engines = _read(answer, owner, is_builtin=False)
        if cache is not None and all(engine.status == "available" for engine in engines):
            cache.put(key, answer)
        return tuple(
            replace(engine, reason=masks.hide(engine.reason), remedy=masks.hide(engine.remedy)) for engine in engines
        )
    except PluginError as problem:
        return (broken(owner, masks.hide(str(problem))),)
    except OSError as error:
        return (broken(owner, f"its process could not be started: {said(error)}"),)


def _read(answer: Mapping[str, Any], owner: EngineDescription, *, is_builtin: bool) -> tuple[EngineDescription, ...]:
    """The engines of a ``described`` message. A plugin without engines is one entry, so that it is seen."""
    said_hooks, reports = answer.get("hooks"), answer.get("engines")
    if not isinstance(said_hooks, list) or not isinstance(reports, list):
        raise PluginError("its description is not what the worker understands")
    hooks = tuple(hook for hook in JOB_HOOKS if hook in said_hooks)
    if hooks and owner.environment:
        # They run in the worker, which imports nothing of another environment.
        logger.bind(event="engine.hook", plugin=owner.plugin, environment=owner.environment).warning(
            "The job hooks of a plugin in an environment of its own are not called"
        )
        if not reports:
            return (replace(owner, status="unavailable", reason="its job hooks need the worker's own environment"),)
        hooks = ()
    owner = replace(owner, hooks=hooks)
    if reports:
        return read_reports(reports, owner, is_builtin=is_builtin)
    if hooks:
        return (replace(owner, reason="it brings job hooks and no engine"),)
    return (replace(owner, status="unavailable", reason="it brings no engine"),)


def _describe_builtin() -> dict[str, Any]:
    """Our own engine needs no child: it is not foreign, and imports nothing heavy."""
    from studio_worker.engines.synthetic import SyntheticEngine

    return {"engines": [report_of(SyntheticEngine())], "hooks": []}


def entry_of(ref: PluginRef) -> EngineDescription:
    """A plugin as one entry, before anything is known of its engines."""
    return EngineDescription(
        name=escape(ref.name, limit=64),
        distribution=ref.distribution,
        version=ref.version,
        plugin=ref.name,
        entry_point=ref.value,
        environment=ref.environment,
        python=ref.python,
        path=ref.path,
    )


def report_broken(engines: Iterable[EngineDescription]) -> None:
    """Warn of each engine that cannot be used."""
    for engine in engines:
        if engine.status != "broken":
            continue
        logger.bind(
            event="engine.plugin",
            plugin=engine.plugin,
            distribution=engine.distribution,
            version=engine.version,
            environment=engine.environment,
            reason=engine.reason,
        ).warning("A plugin cannot be used and is left out")


def refuse_broken(engines: Iterable[EngineDescription]) -> None:
    """Pass where none is broken.

    Raises:
        PluginError: naming everything that is broken, with distribution, version and reason.
    """
    sentences = [f"{_named(each)} cannot be used: {each.reason}" for each in engines if each.status == "broken"]
    if sentences:
        raise PluginError("; ".join(sentences))


def _named(engine: EngineDescription) -> str:
    """The plugin, or the environment that could not be asked for any."""
    if not engine.distribution:
        return f"the environment {engine.environment!r}"
    where = f" in the environment {engine.environment!r}" if engine.environment else ""
    return f"plugin {engine.plugin!r} of {engine.distribution} {engine.version}{where}"


def report_deprecated(engines: Iterable[EngineDescription]) -> None:
    """One warning a plugin: what of it will not work with a later plugin API."""
    plugins: dict[tuple[str, str], dict[str, None]] = {}
    for engine in engines:
        if engine.deprecated and engine.status != "disabled":
            plugins.setdefault((engine.distribution, engine.plugin), {}).update(dict.fromkeys(engine.deprecated))
    for (distribution, plugin), sentences in plugins.items():
        logger.bind(
            event="engine.deprecated", plugin=plugin, distribution=distribution, reason="; ".join(sentences)
        ).warning("A plugin uses what a later plugin API will not have")
