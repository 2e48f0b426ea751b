"""`studio-worker engines`: what is installed, what it serves, and why something cannot run."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.engines_try import try_
from studio_worker.cli.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.engines.description import EngineDescription

COLUMNS = ("name", "kinds", "sources", "status", "distribution", "version", "certificate", "reason", "remedy")


@click.group(
    invoke_without_command=True,
    short_help="Show the engines that are installed.",
    epilog="Example: studio-worker engines info synthetic",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--strict", is_flag=True, help="Fail if a plugin is broken.")
@click.pass_context
def engines(context: click.Context, as_json: bool, strict: bool) -> None:
    """Show the engines that are installed.

    Each plugin is described in a process of its own, so that a broken one is named and the others work. Without a
    command: the list.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Invocation), as_json=as_json, strict=strict)


@engines.command("list", short_help="List the engines.", epilog="Example: studio-worker engines list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--strict", is_flag=True, help="Fail if a plugin is broken.")
@pass_invocation
def list_(invocation: Invocation, as_json: bool, strict: bool) -> None:
    """List the engines: what they serve, where they come from, and whether they can run here."""
    _list(invocation, as_json=as_json, strict=strict)


@engines.command("info", short_help="Show one engine.", epilog="Example: studio-worker engines info synthetic")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def info(invocation: Invocation, name: str, as_json: bool) -> None:
    """Show one engine with its models."""
    everything = described(invocation.settings().current)
    found = [engine for engine in everything if engine.name == name]
    if not found:
        names = ", ".join(sorted({engine.name for engine in everything}))
        raise click.BadParameter(f"there is no such engine; installed: {names or 'none'}", param_hint="NAME")
    engine, *others = sorted(found, key=lambda engine: engine.status != "available")
    more = {
        "models": {kind.value: list(models) for kind, models in engine.models.items()},
        "remedy": engine.remedy,
        "plugin": engine.plugin,
        "environment": engine.environment or None,
        "interpreter": engine.python or None,
        "concurrency": engine.concurrency,
        "deterministic": engine.deterministic,
        "deprecated": list(engine.deprecated),
        "speed": _speed_of(_measured(invocation), engine),
        "needs": None if engine.needs is None else asdict(engine.needs),
    }
    record = engine.to_json() | more
    if not as_json:
        record = {key: value for key, value in record.items() if value not in (None, "", [], {})}
    output.record(record, as_json=as_json)
    for other in others:
        output.note(f"another engine has this name: {other.label}")


engines.add_command(try_)


def _measured(invocation: Invocation) -> list[dict[str, Any]]:
    """How long jobs take: of the worker that runs here, else what the last one has kept."""
    from studio_worker.engines.speeds_file import read_speeds
    from studio_worker.errors import StudioWorkerError
    from studio_worker.local_api.client import DaemonClient

    try:
        measured = DaemonClient(invocation.discovery_file).status().get("speeds")
    except StudioWorkerError:
        return [speed.to_json() for speed in read_speeds(invocation.settings().current.state_path).read()]
    return [each for each in measured if isinstance(each, dict)] if isinstance(measured, list) else []


def _speed_of(measured: list[dict[str, Any]], engine: EngineDescription) -> list[dict[str, Any]]:
    # Two engines may have one name: of two packages, or of one package in two environments.
    own = {
        "engine": engine.name,
        "distribution": engine.distribution,
        "plugin": engine.plugin,
        "environment": engine.environment,
    }
    return [each for each in measured if own.items() <= each.items()]


def _list(invocation: Invocation, *, as_json: bool, strict: bool) -> None:
    engines = described(invocation.settings().current, strict=strict)
    if as_json:
        output.rows([engine.to_json() for engine in engines], as_json=True)
        return
    measured = _measured(invocation)
    found = [_for_people(engine) | {"speed": _in_words(_speed_of(measured, engine))} for engine in engines]
    apart = ("environment",) if any(engine.environment for engine in engines) else ()
    speed = ("speed",) if any(row["speed"] for row in found) else ()
    columns = (*COLUMNS[:-2], *apart, *speed, *COLUMNS[-2:])
    output.rows(found, as_json=False, columns=columns, empty="no engines are installed")


def _in_words(speeds: list[dict[str, Any]]) -> list[str]:
    return [f"{each.get('model')}: {each.get('medianSecs')} s" for each in speeds]


def _for_people(engine: EngineDescription) -> dict[str, Any]:
    word = engine.certificate.word if engine.certificate is not None else ""
    return engine.to_json() | {"environment": engine.environment, "remedy": engine.remedy, "certificate": word}


def described(settings: Config, *, strict: bool = False) -> tuple[EngineDescription, ...]:
    """The engines that are installed, as they were described now or not long ago.

    Args:
        settings: the settings in force.
        strict: raise where a plugin or an environment is broken.

    Raises:
        PluginError: with `strict`, naming everything that is broken.
    """
    from studio_worker.engines.description_cache import DescriptionCache
    from studio_worker.engines.installed_engines import ListedEngines
    from studio_worker.engines.plugins import refuse_broken
    from studio_worker.engines.roster import in_force
    from studio_worker.engines.surroundings import Surroundings, look_around

    cache = DescriptionCache(settings.state_path / "engine-descriptions.json")

    async def ask() -> tuple[EngineDescription, ...]:
        found = await ListedEngines(cache=cache).described(settings)
        if strict:
            refuse_broken(found)
        # The look at drivers takes longer than all else, and most engines need nothing in particular.
        around = await look_around() if any(engine.needs for engine in found) else Surroundings.unknown()
        return in_force(found, settings, around)

    return asyncio.run(ask())
