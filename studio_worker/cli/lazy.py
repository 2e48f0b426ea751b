"""A click group whose commands are imported only when they are called: our own, and those of installed packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

import click

from studio_worker.cli.table import COMMANDS, Entry
from studio_worker.errors import PluginError
from studio_worker.text import escape

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "studio_worker.commands"
"""Entry-point group of external commands: name → click command."""


class LazyGroup(click.Group):
    """Lists commands without importing them. An external command cannot take the name of one of ours."""

    @cached_property
    def external(self) -> Mapping[str, EntryPoint]:
        """The commands of installed packages by name; looked up once, none of them imported."""
        from importlib.metadata import entry_points

        try:
            listed = list(entry_points(group=GROUP))
        except Exception:  # noqa: BLE001 - the parser raises whatever a damaged file makes it stumble over
            # Imported for this alone: it costs the help and every command's start.
            from studio_worker.engines.entry_points import readable_entry_points

            listed = readable_entry_points(GROUP)
        return reachable(listed)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names: ours first, in the table's order."""
        return [*COMMANDS, *sorted(self.external)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now.

        Raises:
            PluginError: an external command cannot be imported or is none.
        """
        entry = COMMANDS.get(cmd_name)
        if entry is not None:
            return _own(entry)
        point = self.external.get(cmd_name)
        return None if point is None else _foreign(point)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands' part of the help, out of the table and the packages' metadata."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in COMMANDS.items()])
        if self.external:
            with formatter.section("Commands of installed packages"):
                formatter.write_dl([(escape(name), f"From {_owner(point)}.") for name, point in self.external.items()])


def reachable(listed: Iterable[EntryPoint]) -> Mapping[str, EntryPoint]:
    """The external commands that can be called, by name: none has the name of one of ours, and one has each name."""
    found = sorted(listed, key=lambda point: (point.name, point.value))
    return {point.name: point for point in reversed(found) if point.name not in COMMANDS}


def _own(entry: Entry) -> click.Command:
    command = getattr(import_module(f"studio_worker.cli.{entry.module}"), entry.attribute)
    assert isinstance(command, click.Command)
    return command


def _foreign(point: EntryPoint) -> click.Command:
    try:
        command = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"the command {point.name!r} of {_owner(point)} cannot be loaded "
            f"({type(error).__name__}: {escape(str(error), limit=300)}): update or uninstall that package"
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(f"the command {point.name!r} of {_owner(point)} is no click command: tell its author")
    return command


def _owner(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else escape(f"{point.dist.name} {point.dist.version}", limit=100)
