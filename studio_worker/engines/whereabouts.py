"""Where the plugins of this machine are: beside the worker, and in environments of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.entry_points import PluginRef, canonical, list_plugins
from studio_worker.engines.environments import UnusableEnvironment, install_command, look_into
from studio_worker.engines.plugins import TIMEOUT_SECS
from studio_worker.text import escape


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The plugins of this machine.

    Attributes:
        plugins: those that can be asked, each with the interpreter that it would run on.
        entries: what need not be asked: environments that bring no plugin, and plugins that one of them has as well.
    """

    plugins: tuple[PluginRef, ...]
    entries: tuple[EngineDescription, ...]


async def find_plugins(
    environments: Mapping[str, Path], disabled: Collection[str] = (), *, timeout_secs: float = TIMEOUT_SECS
) -> Whereabouts:
    """Look beside the worker and into the environments; nothing of a plugin is imported.

    A distribution that an environment of its own brings is used from there; beside the worker it is shown, not run.

    Args:
        environments: where they lie, by name.
        disabled: names of environments, among others, that are not to be looked into.
        timeout_secs: for each question to an interpreter.
    """
    refs, known = await _look_into_all(environments, disabled, timeout_secs)
    kept, shadowed = _without_doubles(await asyncio.to_thread(list_plugins), refs)
    return Whereabouts((*kept, *refs), (*shadowed, *known))


async def _look_into_all(
    places: Mapping[str, Path], disabled: Iterable[str], timeout_secs: float
) -> tuple[list[PluginRef], list[EngineDescription]]:
    """The plugins of all environments, and an entry for each environment that brings none."""
    refs: list[PluginRef] = []
    known: list[EngineDescription] = []

    async def one(name: str, path: Path) -> None:
        shown = escape(name, limit=64)
        entry = EngineDescription(name=shown, plugin=name, environment=name)
        if name in set(disabled):
            known.append(entry)
            return
        try:
            found = await look_into(name, path, timeout_secs=timeout_secs)
        except UnusableEnvironment as problem:
            reason, remedy = escape(problem.reason, limit=500), escape(problem.remedy, limit=500)
            known.append(replace(entry, status="broken", reason=reason, remedy=remedy))
            return
        refs.extend(found.plugins)
        if not found.plugins:
            remedy = f"{install_command(found.python)} and the plugin"
            known.append(
                replace(entry, status="unavailable", reason="no plugin is installed in it", remedy=escape(remedy))
            )

    async with asyncio.TaskGroup() as group:
        for name, path in places.items():
            group.create_task(one(name, path))
    return sorted(refs, key=lambda ref: (ref.environment, ref.distribution, ref.name)), known


def _without_doubles(
    beside: Sequence[PluginRef], apart: Sequence[PluginRef]
) -> tuple[list[PluginRef], list[EngineDescription]]:
    """The worker's own plugins that no environment brings, and entries for the others."""
    homes = {canonical(ref.distribution): ref.environment for ref in apart}
    kept = [ref for ref in beside if canonical(ref.distribution) not in homes]
    shadowed = [
        EngineDescription(
            name=escape(ref.name, limit=64),
            distribution=ref.distribution,
            version=ref.version,
            plugin=ref.name,
            entry_point=ref.value,
            status="unavailable",
            reason=f"the environment {homes[canonical(ref.distribution)]!r} brings it too and is used",
            remedy="uninstall one of the two",
        )
        for ref in beside
        if canonical(ref.distribution) in homes
    ]
    return kept, shadowed
