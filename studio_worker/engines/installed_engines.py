"""What the installed plugins say of themselves, asked once for all workers of a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from studio_worker.engines.certification import with_certificates
from studio_worker.engines.child_process import plain
from studio_worker.engines.description import EngineDescription, disable
from studio_worker.engines.entry_points import PluginRef, list_plugins
from studio_worker.engines.plugins import describe_each, entry_of, is_disabled, report_broken

if TYPE_CHECKING:
    from studio_worker.config import Config

_Key: TypeAlias = tuple[PluginRef, str]


class InstalledEngines:
    """The engines of installed plugins, for one worker or for all workers of one event loop.

    A worker has each plugin described in a process of its own, which takes a second or so of a core. Workers that are
    given the same object share what was found: ``installed = InstalledEngines()``, then
    ``Worker(config, installed=installed)`` for each. Asking is all that they share: models, processes and settings are
    each worker's own, and a plugin whose table differs between two workers is asked for each of the tables.

    What was found stays until the object is gone: a plugin that is installed later is seen by a new one. Not for
    several event loops at once.

    Args:
        only: the plugins that are looked at, by the names of their entry points (``"synthetic"`` is the built-in one);
            None: all. An empty tuple is for those who give a worker engines of their own and want no others.
    """

    def __init__(self, *, only: Collection[str] | None = None) -> None:
        self._only = None if only is None else frozenset(only)
        self._turn = asyncio.Lock()
        self._plugins: tuple[PluginRef, ...] | None = None
        self._found: dict[_Key, tuple[EngineDescription, ...]] = {}

    async def described(self, config: Config) -> tuple[EngineDescription, ...]:
        """What `roster.installed_engines` gives for these settings; a plugin that was asked is not asked again."""
        tables, disabled = config.plugins, config.disabled_engines
        async with self._turn:
            if self._plugins is None:
                self._plugins = await asyncio.to_thread(self._wanted)
            keys = {ref: (ref, _written(tables.get(ref.name, {}))) for ref in self._plugins}
            new = [ref for ref, key in keys.items() if key not in self._found and not is_disabled(ref, disabled)]
            for ref, engines in zip(new, await describe_each(new, tables), strict=True):
                self._found[keys[ref]] = engines
                report_broken(disable(engines, disabled))
            known = [self._found.get(key) or (entry_of(ref),) for ref, key in keys.items()]
        found = disable((engine for engines in known for engine in engines), disabled)
        return await asyncio.to_thread(with_certificates, found, config.certificates_path)

    def _wanted(self) -> tuple[PluginRef, ...]:
        return tuple(ref for ref in list_plugins() if self._only is None or ref.name in self._only)


def _written(table: Mapping[str, Any]) -> str:
    return json.dumps(plain(table), sort_keys=True)
