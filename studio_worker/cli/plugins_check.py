"""`studio-worker plugins check`: the conformance kit on installed plugins."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.plugins_certificate import KEEP, Certificates

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.engines.entry_points import PluginRef
    from studio_worker.testing.conformance.check import OnRule
    from studio_worker.testing.conformance.report import Report, RuleReport
    from studio_worker.testing.conformance.rule import Rule
    from studio_worker.testing.conformance.samples import Sample

COLUMNS = ("engine", "rule", "outcome", "secs", "message")


@click.command(
    "check",
    short_help="Try the rules for engines on plugins.",
    epilog="Example: studio-worker plugins check studio-worker",
)
@click.argument("distributions", nargs=-1, metavar="[DIST]...")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Jobs that the engines can do, one JSON object a line; else those that the package ships.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=KEEP,
    metavar="[FILE]",
    help="Write down what was found, for `require_certified_engines`: to FILE, else to the state folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def check(
    invocation: Invocation,
    distributions: tuple[str, ...],
    samples: Path | None,
    certificate: Path | None,
    as_json: bool,
) -> None:
    """Try every rule for engines on the plugins of a package, or on all that are installed.

    A plugin in an environment of its own is checked there, by the interpreter that it would run on. The engines run
    their samples in processes of their own, as the worker would run them. Exit status 1: a rule fails, or an engine's
    jobs could not be run.
    """
    from studio_worker.testing.conformance.samples import read_samples

    settings = invocation.settings(log_level="critical").current
    refs = chosen(distributions, _installed(settings, look_everywhere=bool(distributions)))
    given = read_samples(samples) if samples is not None else None
    certificates = Certificates(refs, certificate) if certificate is not None else None
    with shown(quiet=as_json) as on_rule:
        reports = asyncio.run(_checked(refs, given, settings.plugins, on_rule))
    if as_json:
        output.json_text([report.to_json() for report in reports])
    else:
        for ref, report in zip(refs, reports, strict=True):
            _show(report, ref.environment)
    if certificates is not None:
        certificates.write(reports, settings.certificates_path)
    if not all(report.passed or not report.engines for report in reports):
        raise click.exceptions.Exit(1)


def chosen(distributions: Sequence[str], installed: Sequence[PluginRef]) -> list[PluginRef]:
    """The plugins of these packages; each may be named by its entry point too. All of them where none is named.

    Args:
        distributions: the names, spelled in any way that indexes take for the same.
        installed: the plugins to choose from.

    Raises:
        click.BadParameter: a name is that of no installed plugin.
    """
    from studio_worker.engines.entry_points import canonical

    if not distributions:
        return list(installed)
    found = []
    for name in distributions:
        plain = canonical(name)
        own = [ref for ref in installed if plain in (canonical(ref.distribution), canonical(ref.name))]
        if not own:
            names = ", ".join(sorted({ref.distribution for ref in installed}))
            raise click.BadParameter(f"no plugin {name!r} is installed; there are: {names}", param_hint="DIST")
        found += [ref for ref in own if ref not in found]
    return found


def _installed(settings: Config, *, look_everywhere: bool) -> tuple[PluginRef, ...]:
    """The plugins beside the worker and in environments; of an environment that cannot be used it is said why.

    Args:
        settings: where the environments are, and which are disabled.
        look_everywhere: look into disabled environments too.
    """
    from studio_worker.engines.environments import list_environments
    from studio_worker.engines.whereabouts import find_plugins

    disabled = () if look_everywhere else settings.disabled_engines
    found = asyncio.run(find_plugins(list_environments(settings), disabled))
    for entry in found.entries:
        if entry.status == "broken":
            output.note(f"environment {entry.name} is left out: {entry.reason}; {entry.remedy}")
    return found.plugins


async def _checked(
    refs: Sequence[PluginRef],
    samples: Sequence[Sample] | None,
    tables: Mapping[str, Mapping[str, Any]],
    on_rule: OnRule,
) -> list[Report]:
    from studio_worker.testing.conformance.check import check_plugin

    return [
        await check_plugin(ref, samples, table=tables.get(ref.name, {}), on_rule=on_rule)  # one after the other
        for ref in refs
    ]


@contextmanager
def shown(*, quiet: bool) -> Iterator[OnRule]:
    """Show on stderr which rule is being tried, where a person looks on; takes what `check_plugin` tells.

    A check that Ctrl-C ends says how far it got.
    """
    ended, now = 0, "the describe step"

    try:
        with _live(quiet=quiet) as tell:

            def on_rule(engine: str, rule: Rule, report: RuleReport | None) -> None:
                nonlocal ended, now
                ended += report is not None
                now = f"{engine}: {rule.id}"
                tell(engine, rule, report)

            yield on_rule
    except KeyboardInterrupt:
        rules = "1 rule was" if ended == 1 else f"{ended} rules were"
        output.note(f"the check was stopped at {now}; {rules} tried, and nothing is shown of the rest")
        raise


@contextmanager
def _live(*, quiet: bool) -> Iterator[OnRule]:
    if quiet or not output.has_live_stderr():
        yield lambda _engine, _rule, _report: None
        return
    from rich.console import Console
    from rich.markup import escape as plain

    from studio_worker.text import escape

    with Console(stderr=True, highlight=False).status("Describing …") as status:

        def tell(engine: str, rule: Rule, report: RuleReport | None) -> None:
            if report is None:
                status.update(plain(escape(f"{engine}: {rule.title} …")))

        yield tell


def _show(report: Report, environment: str) -> None:
    rows = [
        {"engine": engine.name, **{name: getattr(rule, name) for name in COLUMNS[1:]}, "outcome": rule.outcome.value}
        for engine in report.engines
        for rule in engine.rules
    ]
    if rows:
        output.rows(rows, as_json=False, columns=COLUMNS)
    of = f"{report.distribution} {report.version}" + (f" (environment {environment})" if environment else "")
    for name, rule in report.failures:
        output.note(f"{of}: {name} fails {rule.rule}: {rule.message}")
    for name, rule in report.unproven:
        output.note(f"{of}: nothing is shown of {name}: {rule.message}")
    if not report.engines:
        output.note(f"{of}: brings no engine, so that there is nothing to check")
    if report.passed:
        output.note(f"{of}: passed")
