"""Installed plugins by their entry points; nothing of a plugin is imported here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from studio_worker.engines.hookspecs import PROJECT
from studio_worker.engines.self_report import said
from studio_worker.log import logger
from studio_worker.text import escape

_BUILTIN = ("studio-worker", "studio_worker.engines.synthetic")


@dataclass(frozen=True, slots=True)
class PluginRef:
    """An entry point of the group ``studio_worker``; nothing of it is imported.

    Attributes:
        name: the entry point's name, and that of its configuration table.
        value: ``package.module`` or ``package.module:object``.
        distribution: the package that brings it.
        version: that package's version.
        environment: the environment of its own that it is installed in, by name; empty: the worker's.
        python: that environment's interpreter.
        path: where that interpreter imports from.
    """

    name: str
    value: str
    distribution: str
    version: str
    environment: str = ""
    python: str = ""
    path: tuple[str, ...] = ()

    @property
    def is_builtin(self) -> bool:
        """Whether it is the synthetic engine of this package."""
        return (canonical(self.distribution), self.value) == _BUILTIN


def canonical(name: str) -> str:
    """A package's name as indexes compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_plugins() -> tuple[PluginRef, ...]:
    """The installed plugins, by distribution and name; no plugin is imported."""
    found = {_ref(entry) for entry in entry_points_of(PROJECT)}
    return tuple(sorted(found, key=lambda ref: (ref.distribution, ref.name, ref.value)))


def entry_points_of(group: str) -> list[metadata.EntryPoint]:
    """The entry points of a group; a distribution whose list cannot be read costs itself alone."""
    try:
        return list(metadata.entry_points(group=group))
    except Exception:  # noqa: BLE001 - the parser raises whatever a damaged file makes it stumble over
        return readable_entry_points(group)


def readable_entry_points(group: str) -> list[metadata.EntryPoint]:
    """The same, distribution by distribution; those that cannot be read are named in the log."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for package in metadata.distributions():
        name = str(package.metadata["Name"])
        try:
            # The first of a name on the path is the one that is imported.
            found.setdefault(name, [entry for entry in package.entry_points if entry.group == group])
        except Exception as error:  # noqa: BLE001 - as above
            logger.bind(event="engine.plugin", distribution=name, reason=said(error)).warning(
                "The entry points of a distribution cannot be read"
            )
    return [entry for entries in found.values() for entry in entries]


def _ref(entry: metadata.EntryPoint) -> PluginRef:
    package = entry.dist
    return PluginRef(
        name=entry.name,
        value=entry.value,
        distribution=escape(str(package.name), limit=200) if package else "unknown",
        version=escape(str(package.version), limit=64) if package else "unknown",
    )
