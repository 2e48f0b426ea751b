"""The plugins of this environment, one an entry point, as `plugins list` shows them; none is imported here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Any

from studio_worker.cli.lazy import GROUP, reachable
from studio_worker.cli.plugins_origin import origin_of
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.entry_points import canonical, entry_points_of, list_plugins
from studio_worker.text import escape

_OF_AN_ENGINE = frozenset({"name", "kinds", "status", "reason"})
"""What the list of plugins has of the list of engines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledPlugin:
    """A plugin of this environment.

    Attributes:
        name: its entry point's name; empty for a package that brings commands alone.
        distribution: the package.
        version: the package's version.
        entry_point: where its hooks are, ``package.module``.
        engines: what it brings; a plugin that could not be described is one engine of status ``broken``.
        hooks: the job hooks that it implements.
        commands: the commands that its package adds.
        origin: where it was installed from.
        reason: why it, one of its engines, or one of its commands cannot be used.
    """

    name: str
    distribution: str
    version: str
    entry_point: str
    engines: tuple[EngineDescription, ...]
    hooks: tuple[str, ...]
    commands: tuple[str, ...]
    origin: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """One entry of ``plugins list --json``."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "entryPoint": self.entry_point,
            "engines": [
                {key: said for key, said in engine.to_json().items() if key in _OF_AN_ENGINE} for engine in self.engines
            ],
            "hooks": list(self.hooks),
            "commands": list(self.commands),
            "from": self.origin,
            "reason": self.reason,
        }

    def to_row(self) -> dict[str, Any]:
        """The same for a table."""
        return self.to_json() | {"engines": [f"{engine.name} ({engine.status})" for engine in self.engines]}


@dataclass(frozen=True, slots=True)
class _Commands:
    """The commands of one package.

    Attributes:
        names: those that can be called.
        problems: a sentence for each other one.
    """

    names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def installed_plugins(engines: Iterable[EngineDescription]) -> tuple[InstalledPlugin, ...]:
    """Every plugin, by distribution and name; packages that bring commands alone last.

    Args:
        engines: how the engines of this environment were described.
    """
    commands = _commands()
    of_plugin: dict[tuple[str, str, str], list[EngineDescription]] = {}
    for engine in engines:
        of_plugin.setdefault((engine.distribution, engine.plugin, engine.environment), []).append(engine)
    found = [_plugin(known, commands.pop(package, _Commands())) for (package, *_), known in of_plugin.items()]
    return (*found, *(_commands_alone(package, own) for package, own in commands.items()))


def packages_of_plugins() -> dict[str, tuple[str, ...]]:
    """The packages that bring plugins or commands, by the name that indexes know; each with its plugins' names."""
    found: dict[str, tuple[str, ...]] = {canonical(package): () for package in _commands()}
    for plugin in list_plugins():
        package = canonical(plugin.distribution)
        found[package] = (*found.get(package, ()), plugin.name)
    return dict(sorted(found.items()))


def _plugin(engines: Sequence[EngineDescription], commands: _Commands) -> InstalledPlugin:
    first = engines[0]
    return InstalledPlugin(
        name=first.plugin,
        distribution=first.distribution,
        version=first.version,
        entry_point=escape(first.entry_point, limit=200),
        # A plugin that brings no engine, or was not looked at, is described by one entry that serves nothing.
        engines=tuple(engine for engine in engines if engine.kinds or engine.status == "broken"),
        hooks=first.hooks,
        commands=commands.names,
        origin=f"environment {first.environment}" if first.environment else origin_of(first.distribution),
        reason="; ".join(dict.fromkeys([*(engine.reason for engine in engines if engine.reason), *commands.problems])),
    )


def _commands() -> dict[str, _Commands]:
    """The commands of installed packages, by distribution."""
    found: dict[str, _Commands] = {}
    points = sorted(entry_points_of(GROUP))
    called = reachable(points)
    for point in points:
        package = _package_of(point)
        own = found.get(package, _Commands())
        name = escape(point.name, limit=64)
        first = called.get(point.name)
        if first is point:
            found[package] = replace(own, names=(*own.names, name))
        else:
            whose = "studio-worker itself" if first is None else _package_of(first)
            problem = f"its command {name!r} cannot be called: {whose} has one of that name; tell its author"
            found[package] = replace(own, problems=(*own.problems, problem))
    return found


def _package_of(point: EntryPoint) -> str:
    return "unknown" if point.dist is None else escape(point.dist.name, limit=200)


def _commands_alone(package: str, commands: _Commands) -> InstalledPlugin:
    try:
        version = escape(metadata.version(package), limit=64)
    except (metadata.PackageNotFoundError, ValueError):
        version = "unknown"
    return InstalledPlugin(
        name="",
        distribution=package,
        version=version,
        entry_point="",
        engines=(),
        hooks=(),
        commands=commands.names,
        origin=origin_of(package),
        reason="; ".join(commands.problems),
    )
