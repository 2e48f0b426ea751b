"""The kit's own plugin: it brings the engines that its table names, in a child of the worker's as ever, and looks on.

Table: `value` and `is_factory` say what to import, `table` is the plugin's own configuration, `records` the folder in
which watched engines write down their runs, `probe` the file for what importing and describing took, `hidden` the
libraries that are to be missing. Imports nothing heavy.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio_worker.engines.base import Engine, PluginConfig
from studio_worker.engines.hookspecs import hookimpl
from studio_worker.engines.loading import Plugin, engines_of
from studio_worker.engines.self_report import report_of


@hookimpl
def studio_worker_engines(config: PluginConfig) -> Sequence[Engine]:
    """The engines that the table names."""
    table = config.plugin
    if table.get("hidden"):
        hide(frozenset(table["hidden"]))
    if table.get("probe"):
        engines, found = _probed(table)
        Path(table["probe"]).write_text(json.dumps(found), "utf-8")
        return engines
    engines = _made(table)
    if not table.get("records"):
        return engines
    # It imports what the describe step has no use for.
    from studio_worker.testing.conformance.watched import Watched

    return [Watched(engine, Path(table["records"])) for engine in engines]


def hide(names: frozenset[str]) -> None:
    """Let no import and no `find_spec` of this process find these libraries."""
    sys.meta_path[:] = [_Hiding(finder, names) for finder in sys.meta_path]


class _Hiding:
    """A finder that does not see some libraries."""

    def __init__(self, finder: Any, names: frozenset[str]) -> None:
        self._finder = finder
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self._names else self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def _made(table: Mapping[str, Any]) -> list[Engine]:
    if table["is_factory"]:
        return engines_of(table["value"])
    return Plugin(table["value"]).engines(table["table"])


def _probed(table: Mapping[str, Any]) -> tuple[list[Engine], dict[str, Any]]:
    """The engines, and what making and describing them cost: processor seconds and modules."""
    began, before = time.process_time(), set(sys.modules)
    engines = _made(table)
    import_secs, imported = time.process_time() - began, set(sys.modules)
    reports = [report_of(engine) for engine in engines]
    again = [report_of(engine) for engine in engines]
    return engines, {
        "import_secs": import_secs,
        "imported": sorted(imported - before),
        "described": sorted(set(sys.modules) - imported),
        "reports": reports,
        "again": again,
    }
