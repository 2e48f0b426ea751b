"""From an entry point to its engines and hooks. Imports nothing heavy: the child that describes plugins uses it too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from inspect import iscoroutinefunction
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import pluggy

from studio_worker.engines import hookspecs
from studio_worker.engines.base import Engine, PluginConfig
from studio_worker.engines.hookspecs import PROJECT
from studio_worker.engines.self_report import MAX_ENGINES, no_engine
from studio_worker.errors import PluginError

if TYPE_CHECKING:
    from studio_worker.engines.description import EngineDescription
    from studio_worker.engines.messages import Open

StartCheck: TypeAlias = "Callable[[EngineDescription], None]"
"""Raises the EngineError for which the code of an engine may not be started as it lies here now; for threads."""

JOB_HOOKS = ("studio_worker_job_started", "studio_worker_job_finished")
HOOKS = ("studio_worker_engines", *JOB_HOOKS)


class Plugin:
    """One imported plugin: a module or an object that bears hookimpls.

    Args:
        value: the entry point's value, ``package.module`` or ``package.module:object``.

    Raises:
        PluginError: the value names no module, or a class; it implements no hook of ours, or one that nobody could
            call; and whatever importing it raises.
    """

    def __init__(self, value: str) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        _check_entry_point(value)
        bearer = EntryPoint("plugin", value, PROJECT).load()
        if isinstance(bearer, type):
            raise PluginError(f"{value!r} is a class: name a module, or an object of that class")
        self._manager.register(bearer)
        for name in HOOKS:
            for implementation in getattr(self._manager.hook, name).get_hookimpls():
                if iscoroutinefunction(implementation.function):
                    raise PluginError(f"{name} of {value!r} is an async def, which nobody awaits: make it a plain def")
        self.hooks = tuple(name for name in JOB_HOOKS if getattr(self._manager.hook, name).get_hookimpls())
        if not self.hooks and not self._manager.hook.studio_worker_engines.get_hookimpls():
            raise PluginError(f"{value!r} implements none of {', '.join(HOOKS)}")

    def engines(self, table: Mapping[str, Any]) -> list[Engine]:
        """The plugin's engines, one more than allowed at most; `table` is its own configuration."""
        found: list[Engine] = []
        for engines in self._manager.hook.studio_worker_engines(config=PluginConfig(plugin=table)):
            if isinstance(engines, (str, bytes)) or not isinstance(engines, Iterable):
                raise PluginError(
                    f"studio_worker_engines returned {type(engines).__name__}, a list of engines is needed"
                )
            found += islice(engines, MAX_ENGINES + 1)
        return found

    def hook(self, name: str) -> Callable[..., Any]:
        """The caller of a hook by its name; takes keyword arguments."""
        caller: Callable[..., Any] = getattr(self._manager.hook, name)
        return caller


def _check_entry_point(value: str) -> None:
    # importlib.metadata has no sentence for a value that it cannot read. What is in brackets are extras.
    module, colon, attribute = value.partition("[")[0].partition(":")
    names = [*module.strip().split("."), *(attribute.strip().split(".") if colon else ())]
    if not all(name.isidentifier() for name in names):
        raise PluginError(
            f"the entry point {value!r} names no module: 'package.module' is needed as one would import it, without "
            "dashes, slashes and brackets, or 'package.module:object'"
        )


def engines_of(factory: str) -> list[Engine]:
    """What ``package.module:factory`` makes: an engine, or several; one more than allowed at most.

    Raises:
        ValueError: no factory is named.
        PluginError: it makes something else; and whatever importing or calling it raises.
    """
    module, _, attribute = factory.partition(":")
    if not attribute:
        raise ValueError("'package.module:factory' is needed")
    made = getattr(import_module(module), attribute)()
    are_several = isinstance(made, Iterable) and not isinstance(made, (str, bytes))
    engines = list(islice(made, MAX_ENGINES + 1)) if are_several else [made]
    for engine in engines:
        if not isinstance(engine, Engine):
            raise PluginError(f"{attribute}() returned {no_engine(engine)}")
    return engines


def engine_at(opening: Open) -> Engine:
    """The engine that a child is to serve.

    Raises:
        PluginError: it is no longer where it was described; and whatever importing it raises.
    """
    engines = engines_of(opening.value) if opening.is_factory else Plugin(opening.value).engines(opening.table)
    return _named(engines, opening.position, opening.name, opening.value)


def _named(engines: list[Engine], position: int, name: str, plugin: str) -> Engine:
    if position < len(engines) and engines[position].name == name:
        return engines[position]
    raise PluginError(f"the plugin {plugin!r} does not bring the engine {name!r} any more")


class Workshop:
    """The engines of a factory that run in this process, made by one call when the first is needed. For threads.

    Args:
        factory: ``package.module:factory``.
    """

    def __init__(self, factory: str) -> None:
        self._factory = factory
        self._lock = threading.Lock()
        self._engines: list[Engine] | None = None

    def engine(self, position: int, name: str) -> Engine:
        """One of them; imports the package.

        Raises:
            PluginError: it is no longer where it was described; and whatever making it raises.
        """
        with self._lock:
            if self._engines is None:
                self._engines = engines_of(self._factory)
            return _named(self._engines, position, name, self._factory)


def unchecked(engine: EngineDescription) -> None:
    """The `StartCheck` that lets every engine start."""


class PluginShelf:
    """The plugins that this process has imported, each once, when it is first needed. For threads.

    Args:
        tables: plugin name to the operator's ``[plugins.<name>]`` table.
        check: asked before each import.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]], check: StartCheck = unchecked) -> None:
        self._tables = tables
        self._check = check
        self._lock = threading.Lock()
        self._plugins: dict[tuple[str, str], Plugin] = {}
        self._engines: dict[tuple[str, str], list[Engine]] = {}

    def plugin(self, description: EngineDescription) -> Plugin:
        """The plugin that brought this engine; imports it.

        Raises:
            EngineError: it may not be imported as it lies here now; and whatever importing it raises.
        """
        key = (description.distribution, description.plugin)
        with self._lock:
            if key not in self._plugins:
                self._check(description)
                self._plugins[key] = Plugin(description.entry_point)
            return self._plugins[key]

    def engine(self, description: EngineDescription) -> Engine:
        """The engine itself; imports its plugin.

        Raises:
            PluginError: the plugin no longer brings the engine that was described.
        """
        plugin = self.plugin(description)
        key = (description.distribution, description.plugin)
        with self._lock:
            if key not in self._engines:
                self._engines[key] = plugin.engines(self._tables.get(description.plugin, {}))
            engines = self._engines[key]
        return _named(engines, description.position, description.name, description.plugin)
