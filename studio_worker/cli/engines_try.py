"""`studio-worker engines try`: one task on one engine, and on no other."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio_worker.cli.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from studio_worker.cli.generate_order import Order
    from studio_worker.config import Config
    from studio_worker.engines.description import EngineDescription


@click.command(
    "try",
    short_help="Run one task on one engine.",
    epilog="Example: studio-worker engines try synthetic --task jobs.jsonl --job-id picture",
)
@click.argument("name")
@click.option(
    "--task",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="A line of a jobs file, a sample of a plugin, or a claim; - is stdin.",
)
@click.option("--job-id", metavar="ID", help="Which line of the file, where it has several.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where the result goes.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it, a failure too, as one JSON object.")
@pass_invocation
def try_(invocation: Invocation, name: str, file: Path, job_id: str | None, out: Path | None, as_json: bool) -> None:
    """Run one task on the engine called NAME, and on no other, whatever the settings prefer.

    A task that names no source runs as if it named the engine's own; one whose source the engine does not serve is
    refused. Nothing else differs from `generate`: model files are fetched, the result is checked and kept.
    """
    from studio_worker.cli.engines import described
    from studio_worker.cli.generate import carry_out
    from studio_worker.cli.generate_answer import failures_told
    from studio_worker.cli.generate_target import ResultNotWritten, Target
    from studio_worker.private_file import reason

    order = read_task(file, job_id)
    with failures_told(order, as_json=as_json):
        settings = invocation.settings(log_level="error").current
        engines = described(settings)
        engine = _engine(engines, name)
        order = _for_engine(order, engine)
        if out is not None:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ResultNotWritten(f"{out} cannot be made: {reason(error)}; give --out another place") from None
        target = Target(order.kind, out, may_replace=False)
        target.check(as_json=as_json)
        carry_out(settings_for(engine, engines, order, settings), order, target, as_json=as_json)


def read_task(file: Path, job_id: str | None) -> Order:
    """The order that a file holds: a claim, an offer, a line of a jobs file, or a sample of a plugin.

    Raises:
        click.UsageError: the file cannot be read, or holds several and none is named.
        BadJobsFile: it holds no job; names the line and its field.
    """
    from studio_worker.cli.explain_claim import one_job
    from studio_worker.cli.generate_order import Order
    from studio_worker.cli.jobs_file import bad_line, job_lines
    from studio_worker.testing.conformance.samples import files_of, inputs_of
    from studio_worker.wire.model_source import parse_model_source
    from studio_worker.wire.tasks import parse_task

    name = "stdin" if str(file) == "-" else str(file)
    lines = list(job_lines(io.BytesIO(_one_line(file, name)), name))
    number, job = one_job(lines, job_id, option="--task", name=name)
    source, seed = job.get("modelSource"), job.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise bad_line(name, number, "seed: must be a whole number from 0")
    folder = Path() if str(file) == "-" else file.parent
    try:
        return Order(
            task=parse_task(job["task"]),
            model=job["model"],
            source=None if source is None else parse_model_source(source),
            inputs=inputs_of(job, folder),
            files=files_of(job, folder) or None,
            seed=seed,
        )
    except ValueError as error:
        raise bad_line(name, number, str(error)) from None


def _one_line(file: Path, name: str) -> bytes:
    """The file's bytes; a claim, which may be written over many lines, as one."""
    from studio_worker.cli.explain_claim import read_bytes
    from studio_worker.private_file import reason
    from studio_worker.wire.strict_json import NotJson, dumps_lossy, loads

    try:
        raw = read_bytes(file)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--task: {name} cannot be read: {reason(error)}") from None
    try:
        whole = loads(raw)
    except NotJson:
        return raw
    if isinstance(whole, dict) and isinstance(whole.get("claim"), dict):
        whole = whole["claim"]
    return dumps_lossy(whole).encode()


def _engine(engines: tuple[EngineDescription, ...], name: str) -> EngineDescription:
    from studio_worker.errors import NoEngine

    found = sorted((each for each in engines if each.name == name), key=lambda each: each.status != "available")
    if not found:
        names = ", ".join(sorted({each.name for each in engines})) or "none"
        raise click.BadParameter(f"there is no such engine; installed: {names}", param_hint="NAME")
    if found[0].status != "available":
        why = ": ".join(part for part in (found[0].status, found[0].reason) if part)
        remedy = f"; {found[0].remedy}" if found[0].remedy else ""
        raise NoEngine(f"engine {found[0].label} cannot be tried, it is {why}{remedy}")
    return found[0]


def _for_engine(order: Order, engine: EngineDescription) -> Order:
    """The order as that engine's, where it can be. Raises UnsupportedTask."""
    from studio_worker.errors import UnsupportedTask
    from studio_worker.wire.model_source import ModelSource

    if order.kind not in engine.kinds:
        kinds = ", ".join(kind.value for kind in engine.kinds)
        raise UnsupportedTask(f"the task is of kind {order.kind.value}, and engine {engine.name!r} serves {kinds}")
    if order.source is None:
        return replace(order, source=ModelSource(engine=engine.sources[0]))
    if order.source.engine not in engine.sources:
        raise UnsupportedTask(
            f"the task's source names {order.source.engine!r}, and engine {engine.name!r} serves "
            f"{', '.join(engine.sources)}: try an engine that serves it, or leave modelSource out of the task"
        )
    return order


def settings_for(
    engine: EngineDescription, engines: tuple[EngineDescription, ...], order: Order, settings: Config
) -> Config:
    """The settings with that engine preferred; other plugins and environments are left alone, and not looked at.

    Args:
        engine: the engine that the order is for.
        engines: all that are installed.
        order: the order, which names its source.
        settings: the user's own.
    """
    assert order.source is not None
    own = {engine.name, engine.plugin, engine.distribution, engine.environment}
    others = {name for each in engines for name in (each.plugin, each.environment) if name} - own
    return settings.model_copy(
        update={
            "engine_preferences": {**settings.engine_preferences, order.source.engine: engine.name},
            "disabled_engines": tuple(sorted({*settings.disabled_engines, *others})),
        }
    )
