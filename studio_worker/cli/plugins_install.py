"""`studio-worker plugins install` and `uninstall`: the packages of the environment that this program runs in."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from studio_worker.cli.plugins_installed import InstalledPlugin
    from studio_worker.cli.plugins_installer import Change, OnLine
    from studio_worker.cli.plugins_requirement import Requirement

ITSELF = "studio-worker"
CHANGE_COLUMNS = ("name", "from", "to")

_PROGRESS = re.compile(r"Progress ([0-9]{1,15}) of ([0-9]{1,15})", re.ASCII)

_NOISE = "Requirement already satisfied"
"""What pip says of everything that is there already."""

_yes = click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be changed, and change nothing.")
_apart = click.option("--own-environment", is_flag=True, help="Meant is an environment that this plugin has to itself.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print what was changed as one JSON object.")


@click.command(
    "install",
    short_help="Install plugins into this environment.",
    epilog="Example: studio-worker plugins install studio-worker-whisper",
)
@click.argument("requirements", nargs=-1, required=True, metavar="REQUIREMENT...")
@click.option("--upgrade", is_flag=True, help="Take the newest version that fits, also where one is installed.")
@_apart
@_dry_run
@_yes
@_as_json
@pass_invocation
def install(
    invocation: Invocation,
    requirements: tuple[str, ...],
    upgrade: bool,
    own_environment: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Install plugins into the environment that this program runs in, by its pip, or by uv where it has none.

    REQUIREMENT is a package's name, with or without versions (`NAME>=1,<2`), or the path of a .whl file or of a
    project's folder; addresses are refused. What would be changed is shown and asked about first. To know that, the
    installer may have to build a package that comes without a wheel, which runs that package's own build.

    With --own-environment one plugin gets an environment to itself, below the worker's state folder, with a
    studio-worker of its own to talk to this one: for plugins whose requirements exclude each other.
    """
    from studio_worker.cli.plugins_environment import check_changeable
    from studio_worker.cli.plugins_installer import find_installer
    from studio_worker.cli.plugins_requirement import read_requirement

    wanted = [read_requirement(text) for text in requirements]
    if any(requirement.name == ITSELF for requirement in wanted):
        raise click.BadParameter("studio-worker is this program itself, and no plugin", param_hint="REQUIREMENT")
    _check_answerable(yes=yes or dry_run)
    if own_environment:
        from studio_worker.cli.plugins_apart import install_apart

        if upgrade:
            raise click.UsageError(
                "--upgrade cannot be used with --own-environment: `studio-worker plugins uninstall --own-environment` "
                "the old one, then install it anew"
            )
        install_apart(invocation, wanted, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    check_changeable()
    installer = find_installer()
    with _progress("resolving") as on_line:
        changes = installer.plan(wanted, upgrade=upgrade, on_line=on_line)
    if changes and not dry_run:
        _agree(changes, yes=yes)
        with _progress("installing", tells_lines=True) as on_line:
            installer.install(wanted, upgrade=upgrade, on_line=on_line)
    found = _brought(invocation, changes, wanted) if changes and not dry_run else ()
    _show(changes, found, dry_run=dry_run, as_json=as_json)
    if not changes:
        output.note("nothing to change: it is installed already" + ("" if upgrade else "; --upgrade looks for newer"))
    elif not dry_run:
        _advise(invocation, found, changes)


@click.command(
    "uninstall",
    short_help="Uninstall a plugin from this environment.",
    epilog="Example: studio-worker plugins uninstall studio-worker-whisper",
)
@click.argument("name")
@_apart
@_dry_run
@_yes
@_as_json
@pass_invocation
def uninstall(
    invocation: Invocation, name: str, own_environment: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Uninstall a plugin from the environment that this program runs in.

    NAME is that of its package, or the plugin's own. What it needed stays: other packages may need it too. With
    --own-environment NAME is the environment's, or that of the plugin in it, and all of the environment goes.
    """
    from studio_worker.cli.plugins_environment import check_changeable
    from studio_worker.cli.plugins_installer import Change, find_installer, installed_version
    from studio_worker.cli.plugins_process import InstallFailed
    from studio_worker.cli.plugins_requirement import read_name

    _check_answerable(yes=yes or dry_run)
    if own_environment:
        from studio_worker.cli.plugins_apart import uninstall_apart

        uninstall_apart(invocation, name, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    package = _package_of(read_name(name))
    check_changeable()
    installer = find_installer()
    change = Change(package, installed_version(package), None)
    if not dry_run:
        _agree([change], yes=yes)
        with _progress("uninstalling", tells_lines=True) as on_line:
            installer.uninstall(package, on_line=on_line)
        importlib.invalidate_caches()
        if installed_version(package) is not None:
            raise InstallFailed(f"{installer.name} left {package} where it is: it lies outside {sys.prefix}")
    _show([change], (), dry_run=dry_run, as_json=as_json)
    if not dry_run:
        _tell_of_worker(invocation, "keeps it until it is restarted")


def _package_of(name: str) -> str:
    """The package that `name` is, or whose plugin it is. Raises click.BadParameter where it is no plugin."""
    from studio_worker.cli.plugins_installed import packages_of_plugins
    from studio_worker.cli.plugins_installer import installed_version

    if name == ITSELF:
        raise click.BadParameter(
            "studio-worker is this program itself, and no plugin: uninstall it the way it was installed",
            param_hint="NAME",
        )
    packages = packages_of_plugins()
    if name in packages:
        return name
    owners = [package for package, plugins in packages.items() if name in plugins and package != ITSELF]
    if len(owners) == 1:
        return owners[0]
    if owners:
        raise click.BadParameter(f"several packages have a plugin {name!r}: {', '.join(owners)}", param_hint="NAME")
    known = ", ".join(package for package in packages if package != ITSELF) or "none"
    what = "brings no plugin" if installed_version(name) is not None else "is not installed"
    raise click.BadParameter(f"{name!r} {what}; plugins that are: {known}", param_hint="NAME")


def _check_answerable(*, yes: bool) -> None:
    if not yes and not output.is_terminal(sys.stdin):
        raise click.UsageError("nobody can be asked here: give --yes, or --dry-run to see what would be changed")


def _agree(changes: Iterable[Change], *, yes: bool) -> None:
    for change in changes:
        output.note(str(change))
    if not yes and not click.confirm(f"Change {sys.prefix} so?", err=True):
        output.note("nothing was changed")
        raise click.exceptions.Exit(1)


@contextmanager
def _progress(stage: str, *, tells_lines: bool = False) -> Iterator[OnLine]:
    """What takes an installer's lines: downloads become progress, the others are told where they are wanted."""
    from studio_worker.cli.generate_display import DOWNLOAD, display

    with display() as shown:
        shown.show(stage)

        def take(line: str) -> None:
            if (found := _PROGRESS.fullmatch(line)) is not None:
                shown.show(DOWNLOAD, int(found[1]), int(found[2]))
            elif tells_lines and line.strip() and not line.startswith(_NOISE):
                shown.show(stage)
                output.note(line)

        yield take


def _brought(
    invocation: Invocation, changes: Sequence[Change], wanted: Sequence[Requirement]
) -> tuple[InstalledPlugin, ...]:
    """The plugins of the packages that were changed, as they are described now."""
    from studio_worker.cli.engines import described
    from studio_worker.cli.plugins_installed import installed_plugins
    from studio_worker.engines.entry_points import canonical

    importlib.invalidate_caches()
    names = {canonical(change.name) for change in changes} | {each.name for each in wanted}
    found = installed_plugins(described(invocation.settings(log_level="error").current))
    return tuple(plugin for plugin in found if canonical(plugin.distribution) in names)


def _show(changes: Sequence[Change], plugins: Sequence[InstalledPlugin], *, dry_run: bool, as_json: bool) -> None:
    from studio_worker.cli.plugins_brought import COLUMNS, brought_row

    changed = [change.to_json() for change in changes]
    engines = [brought_row(engine) for plugin in plugins for engine in plugin.engines]
    if as_json:
        output.json_text({"environment": sys.prefix, "dryRun": dry_run, "changes": changed, "engines": engines})
        return
    if changed:
        output.rows(changed, as_json=False, columns=CHANGE_COLUMNS)
    if engines:
        output.say("")
        output.rows(engines, as_json=False, columns=COLUMNS)


def _advise(invocation: Invocation, found: Sequence[InstalledPlugin], changes: Sequence[Change]) -> None:
    from studio_worker.cli.plugins_environment import keeper_note

    if not found:
        names = ", ".join(change.name for change in changes)
        output.note(f"nothing of this is a plugin, and the worker will not use it: {names}")
        return
    for plugin in found:
        for engine in plugin.engines:
            if engine.status != "available":
                output.note(f"engine {engine.label} is {engine.status}: {engine.reason}; {engine.remedy}".rstrip("; "))
    _tell_of_worker(invocation, "does not see it until it is restarted")
    if note := keeper_note():
        output.note(note)


def _tell_of_worker(invocation: Invocation, what: str) -> None:
    """A worker looks for plugins when it starts, and never again."""
    from studio_worker.errors import StudioWorkerError
    from studio_worker.local_api.client import DaemonClient

    ask: Callable[[], Any] = DaemonClient(invocation.discovery_file).status
    try:
        ask()
    except StudioWorkerError:
        output.note(f"a running worker {what}")
    else:
        output.note(f"the worker that runs here {what}")
