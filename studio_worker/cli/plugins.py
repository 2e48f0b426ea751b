"""`studio-worker plugins`: the packages that bring engines, hooks and commands."""

from __future__ import annotations

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.plugins_install import install, uninstall

COLUMNS = ("name", "distribution", "version", "engines", "hooks", "commands", "from", "reason")


@click.group(
    invoke_without_command=True,
    short_help="Show, install, make and check plugins.",
    epilog="Example: studio-worker plugins list --json",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """Show, install, make and check plugins: packages that bring engines, hooks or commands.

    Without a command: the list.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Invocation), as_json=as_json)


@plugins.command("list", short_help="List the plugins.", epilog="Example: studio-worker plugins list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def list_(invocation: Invocation, as_json: bool) -> None:
    """List the plugins that are installed: what each brings, and where it came from.

    Each is looked at in a process of its own, so that a broken one is named and harms nothing.
    """
    _list(invocation, as_json=as_json)


plugins.add_command(install)
plugins.add_command(uninstall)


def _list(invocation: Invocation, *, as_json: bool) -> None:
    from studio_worker.cli.engines import described
    from studio_worker.cli.plugins_installed import installed_plugins

    found = installed_plugins(described(invocation.settings().current))
    rows = [plugin.to_json() if as_json else plugin.to_row() for plugin in found]
    output.rows(rows, as_json=as_json, columns=COLUMNS, empty="no plugins are installed")
