"""What is checked: a plugin by its entry point, an engine by its factory, or an engine object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from studio_worker.engines.base import Engine
from studio_worker.engines.description import EngineDescription

if TYPE_CHECKING:
    from studio_worker.engines.entry_points import PluginRef

ADAPTER = "studio_worker.testing.conformance.adapter"
"""The entry point of the kit's own plugin, which brings the engine that its table names, watched or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Where the engines to check come from.

    Attributes:
        value: the entry point, or ``package.module:factory``; empty for an object.
        is_factory: whether `value` is to be called.
        engine: the object, where one was given.
        name: what to call it before its engines are known.
        distribution: the package; empty where there is none.
        version: that package's version.
        plugin: the entry point's name.
        table: the plugin's configuration.
        is_builtin: whether it is our own synthetic engine.
        environment: the environment of its own that it is installed in, by name; empty: the worker's.
        python: that environment's interpreter.
    """

    value: str = ""
    is_factory: bool = False
    engine: Engine | None = None
    name: str
    distribution: str = ""
    version: str = ""
    plugin: str = ""
    table: Mapping[str, Any] = field(default_factory=dict)
    is_builtin: bool = False
    environment: str = ""
    python: str = ""

    @classmethod
    def of_plugin(cls, ref: PluginRef, table: Mapping[str, Any]) -> Subject:
        """An installed plugin."""
        return cls(
            value=ref.value,
            name=ref.name,
            distribution=ref.distribution,
            version=ref.version,
            plugin=ref.name,
            table=table,
            is_builtin=ref.is_builtin,
            environment=ref.environment,
            python=ref.python,
        )

    @classmethod
    def of_engine(cls, engine: Engine | str) -> Subject:
        """An engine object, or the path of a factory."""
        if isinstance(engine, str):
            return cls(value=engine, is_factory=True, name=engine)
        builtin = type(engine).__module__.startswith("studio_worker.engines.synthetic")
        return cls(engine=engine, name=str(engine.name or type(engine).__name__), is_builtin=builtin)

    @property
    def owner(self) -> EngineDescription:
        """What every engine of the subject shares."""
        return EngineDescription(
            name=self.name,
            distribution=self.distribution,
            version=self.version,
            plugin=self.plugin,
            entry_point=self.value,
            environment=self.environment,
            python=self.python,
        )

    @property
    def module(self) -> str:
        """The module that `value` names."""
        return self.value.partition(":")[0]

    @property
    def entry_point(self) -> str:
        """What a child imports to describe it: a factory has the kit's own plugin before it."""
        return ADAPTER if self.is_factory else self.value

    @property
    def entry_table(self) -> dict[str, Any]:
        """The table that goes with `entry_point`."""
        return self.adapter_table() if self.is_factory else dict(self.table)

    def adapter_table(self, records: str = "") -> dict[str, Any]:
        """The table of the kit's own plugin that brings these engines; with `records`, a folder, it watches them."""
        return {
            "value": self.value,
            "is_factory": self.is_factory,
            "table": dict(self.table),
            "records": records,
        }
