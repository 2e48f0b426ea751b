"""What the installed plugins say of themselves: asked once for all workers of a process, or for one command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from studio_worker.engines.certification import with_certificates
from studio_worker.engines.child_process import plain
from studio_worker.engines.description import EngineDescription, disable
from studio_worker.engines.entry_points import PluginRef
from studio_worker.engines.environments import list_environments
from studio_worker.engines.plugins import (
    TIMEOUT_SECS,
    describe_each,
    entry_of,
    is_disabled,
    report_broken,
    report_deprecated,
)
from studio_worker.engines.whereabouts import Whereabouts, find_plugins
from studio_worker.log import logger
from studio_worker.text import escape

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.engines.description_cache import DescriptionCache

_Key: TypeAlias = tuple[PluginRef, str]
_Places: TypeAlias = tuple[tuple[str, Path, bool], ...]


class InstalledEngines:
    """The engines of installed plugins, for one worker or for all workers of one event loop.

    A worker has each plugin described in a process of its own, which takes a second or so of a core. Workers that are
    given the same object share what was found: ``installed = InstalledEngines()``, then
    ``Worker(config, installed=installed)`` for each. Asking is all that they share: models, processes and settings are
    each worker's own, and a plugin whose table differs between two workers is asked for each of the tables.

    What was found stays until the object is gone: a plugin that is installed later is seen by a new one. What was
    broken is asked again by whoever comes later, and told once. Not for several event loops at once.

    Args:
        only: the plugins that are looked at, by the names of their entry points (``"synthetic"`` is the built-in one);
            None: all. An empty tuple is for those who give a worker engines of their own and want no others. A name
            that no plugin has is an engine that is not available, which the log tells once.

    Raises:
        TypeError: `only` is no collection of names.
    """

    _cache: DescriptionCache | None = None
    _timeout_secs: float = TIMEOUT_SECS

    def __init__(self, *, only: Collection[str] | None = None) -> None:
        self._only = None if only is None else _names(only)
        self._turn = asyncio.Lock()
        self._places: dict[_Places, Whereabouts] = {}
        self._found: dict[_Key, tuple[EngineDescription, ...]] = {}
        self._turns = 0
        self._failures: dict[_Key | _Places, int] = {}
        self._told: set[EngineDescription] = set()

    async def described(self, config: Config) -> tuple[EngineDescription, ...]:
        """Every installed engine with its certificate; a plugin that was asked is not asked again.

        Each is described by the interpreter that it would run on: those in environments of their own are among them.
        One that is disabled is not run for it; what is broken is told in the log, and is one entry that says why.
        `roster.in_force` says which may be used.

        Args:
            config: the settings, which name environments, tables and what is disabled.
        """
        tables, disabled = config.plugins, config.disabled_engines
        arrived = self._turns
        environments = await asyncio.to_thread(list_environments, config)
        async with self._turn:
            self._turns += 1
            place = await self._look(environments, disabled, arrived)
            plugins = [ref for ref in place.plugins if self._only is None or ref.name in self._only]
            entries = [entry for entry in place.entries if self._only is None or entry.plugin in self._only]
            keys = {ref: (ref, _written(tables.get(ref.name, {}))) for ref in plugins}
            used = {ref: key for ref, key in keys.items() if not is_disabled(ref, disabled)}
            new = [ref for ref, key in used.items() if key not in self._found or self._is_asked_again(key, arrived)]
            answers = await describe_each(new, tables, self._timeout_secs, self._cache)
            for ref, engines in zip(new, answers, strict=True):
                self._found[keys[ref]] = engines
                self._note(keys[ref], disable(engines, disabled))
            known = [self._found.get(key) or (entry_of(ref),) for ref, key in keys.items()]
            entries += self._not_there(place, environments)
        found = disable((*(engine for engines in known for engine in engines), *entries), disabled)
        return await asyncio.to_thread(with_certificates, found, config.certificates_path)

    def _not_there(self, place: Whereabouts, environments: Collection[str]) -> list[EngineDescription]:
        """An entry for each name that was asked for and is nobody's; none while an environment hides what it brings."""
        if any(not entry.distribution and entry.status != "unavailable" for entry in place.entries):
            return []
        installed = {ref.name for ref in place.plugins} | {entry.plugin for entry in place.entries}
        missing = (self._only or frozenset()) - installed - set(environments)
        reason = f"no installed plugin is called so; installed are {', '.join(sorted(installed))}"
        found = [
            EngineDescription(name=escape(name, limit=64), plugin=name, status="unavailable", reason=escape(reason))
            for name in sorted(missing)
        ]
        for entry in set(found) - self._told:
            self._told.add(entry)
            logger.bind(event="engine.plugin", plugin=entry.plugin, reason=entry.reason).warning(
                "A plugin that was asked for is not installed"
            )
        return found

    async def _look(self, environments: Mapping[str, Path], disabled: Collection[str], arrived: int) -> Whereabouts:
        """Where the plugins are; who has looked at the same places before does not look again."""
        key = tuple((name, path, name in disabled) for name, path in sorted(environments.items()))
        if key not in self._places or self._is_asked_again(key, arrived):
            self._places[key] = await find_plugins(environments, disabled, timeout_secs=self._timeout_secs)
            self._note(key, self._places[key].entries)
        return self._places[key]

    def _is_asked_again(self, key: _Key | _Places, arrived: int) -> bool:
        """Whether what failed had failed before this caller came: those who wait at the same time share the answer."""
        return self._failures.get(key, arrived + 1) <= arrived

    def _note(self, key: _Key | _Places, engines: Sequence[EngineDescription]) -> None:
        self._failures.pop(key, None)
        if any(engine.status == "broken" for engine in engines):
            self._failures[key] = self._turns
        new = [engine for engine in engines if engine not in self._told]
        self._told.update(new)
        report_broken(new)
        report_deprecated(new)


class ListedEngines(InstalledEngines):
    """The same for whoever only lists them: what is unchanged since the last time need not be asked at all.

    Args:
        only: as there.
        cache: what plugins said to commands before this one.
        timeout_secs: how long each interpreter and each plugin may take to answer.
    """

    def __init__(
        self,
        *,
        only: Collection[str] | None = None,
        cache: DescriptionCache | None = None,
        timeout_secs: float = TIMEOUT_SECS,
    ) -> None:
        super().__init__(only=only)
        self._cache = cache
        self._timeout_secs = timeout_secs


def _names(only: object) -> frozenset[str]:
    if isinstance(only, Collection) and not isinstance(only, (str, bytes)):
        names = frozenset(only)
        if all(isinstance(name, str) for name in names):
            return names
    raise TypeError(f"only: names of plugins are needed, such as ['llama'], not {type(only).__name__}")


def _written(table: Mapping[str, Any]) -> str:
    return json.dumps(plain(table), sort_keys=True)
