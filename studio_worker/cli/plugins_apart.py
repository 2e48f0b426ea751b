"""`studio-worker plugins install --own-environment`: a plugin whose requirements nobody else has to share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation

if TYPE_CHECKING:
    from studio_worker.cli.plugins_requirement import Requirement
    from studio_worker.engines.description import EngineDescription
    from studio_worker.engines.environment_making import EnvironmentPlan


def install_apart(
    invocation: Invocation, wanted: Sequence[Requirement], *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Make an environment of its own for one plugin, called as its package; show what engines it has brought.

    Raises:
        click.BadParameter: it is not one package with a name.
        PluginError: there is one already, or it could not be made.
    """
    from studio_worker.engines.environment_making import make_environment, plan_environment

    if len(wanted) != 1 or wanted[0].name is None:
        raise click.BadParameter(
            "an environment of its own is for one package: give its name or its .whl file", param_hint="REQUIREMENT"
        )
    root = invocation.settings().current.environments_path
    plan = plan_environment(root, wanted[0].name, [wanted[0].argument])
    for command in plan.commands:
        output.note(" ".join(command))
    engines: tuple[EngineDescription, ...] = ()
    if not dry_run:
        if not yes and not click.confirm(f"Make {plan.folder} so?", err=True):
            output.note("nothing was made")
            raise click.exceptions.Exit(1)
        make_environment(plan, _run)
        engines = _engines_of(invocation, plan)
    _show(plan, engines, dry_run=dry_run, as_json=as_json)
    if not dry_run:
        output.note("a running worker does not see it until it is restarted")


def uninstall_apart(invocation: Invocation, name: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove the environment `name`, or the one that the plugin `name` is in, however that is spelled.

    Raises:
        click.BadParameter: there is none of ours, or several have such a plugin.
    """
    from studio_worker.engines.entry_points import canonical
    from studio_worker.engines.environment_making import remove_environment
    from studio_worker.engines.environments import made_environments

    root = invocation.settings().current.environments_path
    made = made_environments(root)
    own = next((each for each in made if canonical(each) == canonical(name)), None)
    own = own or _with_plugin(name, made)
    if own is None:
        raise click.BadParameter(
            f"no environment of this name was made here; those that were: {', '.join(made) or 'none'}",
            param_hint="NAME",
        )
    folder = made[own]
    if not dry_run:
        if not yes and not click.confirm(f"Remove {folder}?", err=True):
            output.note("nothing was removed")
            raise click.exceptions.Exit(1)
        remove_environment(root, own)
    if as_json:
        output.json_text({"environment": str(folder), "dryRun": dry_run, "removed": not dry_run})
    else:
        output.say(f"{'would remove' if dry_run else 'removed'} {folder}")


def _with_plugin(name: str, environments: Mapping[str, Path]) -> str | None:
    """The environment that has a plugin, or a plugin's package, of this name."""
    from studio_worker.engines.entry_points import canonical
    from studio_worker.engines.whereabouts import find_plugins

    found = asyncio.run(find_plugins(environments)).plugins
    owners = {ref.environment for ref in found if canonical(name) in (canonical(ref.name), canonical(ref.distribution))}
    owners.discard("")
    if len(owners) > 1:
        raise click.BadParameter(
            f"several environments have a plugin {name!r}: {', '.join(sorted(owners))}", param_hint="NAME"
        )
    return next(iter(owners), None)


def _run(command: Sequence[str], variables: dict[str, str]) -> None:
    """By the same process as every installer; what fails is raised by its own last words."""
    from studio_worker.cli.plugins_process import run_installer

    what = "make the environment" if "venv" in command else "install into it"
    run_installer(command, what, output.note, variables=variables)


def _engines_of(invocation: Invocation, plan: EnvironmentPlan) -> tuple[EngineDescription, ...]:
    from studio_worker.cli.engines import described

    found = described(invocation.settings(log_level="error").current)
    return tuple(engine for engine in found if engine.environment == plan.name)


def _show(plan: EnvironmentPlan, engines: Sequence[EngineDescription], *, dry_run: bool, as_json: bool) -> None:
    from studio_worker.cli.plugins_brought import COLUMNS, brought_row

    rows = [brought_row(engine) for engine in engines]
    if as_json:
        output.json_text(
            {
                "environment": str(plan.folder),
                "madeFrom": sys.executable,
                "dryRun": dry_run,
                "requirements": list(plan.requirements),
                "engines": rows,
            }
        )
    elif rows:
        output.rows(rows, as_json=False, columns=COLUMNS)
