"""`studio-worker explain`: what this machine's worker would do with a claim, and why, without doing it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.fetch.guard import Guard
    from studio_worker.jobs.explanation import Explanation
    from studio_worker.jobs.input_outlook import InputOutlook
    from studio_worker.jobs.plan import Plan
    from studio_worker.models.outlook import FileOutlook, ModelOutlook

ENGINE_COLUMNS = ("engine", "status", "chosen", "why")
INPUT_COLUMNS = ("field", "state", "from", "why")
FILE_COLUMNS = ("role", "filename", "state", "from", "why")


@click.command(
    "explain",
    short_help="Say what would become of a job, and why.",
    epilog="Example: studio-worker explain --claim claim.json",
)
@click.option(
    "--claim",
    "file",
    type=click.Path(path_type=Path, allow_dash=True),
    required=True,
    metavar="FILE",
    help="A claim, an offer, or a line of a jobs file, as JSON; - is stdin.",
)
@click.option("--job-id", metavar="ID", help="Which line of the file, where it has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def explain(invocation: Invocation, file: Path, job_id: str | None, as_json: bool) -> None:
    """Say which engine would take a job and why, which files it would fetch, or why it would be refused.

    Nothing is run, fetched or reserved, and no name looked up. The engines and the settings are those of this machine;
    what a running worker remembers besides, such as an engine that it leaves alone for a while, `status` shows. Exit
    status 1: refused.
    """
    from studio_worker.cli.engines import described
    from studio_worker.cli.explain_claim import read_claim
    from studio_worker.engines.router import Routes
    from studio_worker.jobs.explanation import explain as explained
    from studio_worker.jobs.input_outlook import input_outlook
    from studio_worker.models.settings import guard

    raw = read_claim(file, job_id)
    settings = invocation.settings(log_level="error").current
    engines = described(settings)
    found = explained(raw, engines, Routes.build(engines, settings.engine_preferences), settings.device_of)
    refusal = found.refusal
    files: tuple[FileOutlook, ...] = ()
    inputs: tuple[InputOutlook, ...] = ()
    if found.plan is not None:
        # A worker that runs has its own API there, which no job may reach.
        rules = guard(settings, closed=frozenset({("127.0.0.1", settings.local_api_port)}))
        model = asyncio.run(_model_outlook(settings, found.plan, rules))
        files = model.files
        inputs = input_outlook(found.plan.inputs, rules)
        refused_inputs = (each.refusal for each in inputs if each.refusal is not None)
        refusal = model.no_room or next(refused_inputs, None) or model.refusal
    _show(found, refusal, inputs, files, as_json=as_json)
    if refusal is not None:
        raise click.exceptions.Exit(1)


async def _model_outlook(settings: Config, plan: Plan, rules: Guard) -> ModelOutlook:
    from studio_worker.models.outlook import ModelOutlook, outlook
    from studio_worker.models.settings import open_store
    from studio_worker.session.studio_http import USER_AGENT

    if plan.source is None:
        return ModelOutlook()
    store = open_store(lambda: settings, guard=lambda: rules, user_agent=USER_AGENT)
    try:
        return await outlook(store, plan.model, plan.source)
    finally:
        await store.aclose()


def _show(
    found: Explanation,
    refusal: Any,
    inputs: tuple[InputOutlook, ...],
    files: tuple[FileOutlook, ...],
    *,
    as_json: bool,
) -> None:
    plan = found.plan
    record: dict[str, Any] = {"jobId": found.job_id, "verdict": "refused" if refusal is not None else "runs"}
    if refusal is not None:
        record |= {"reason": str(refusal), "retryable": refusal.retryable}
    if plan is not None:
        engine = plan.route.engine
        record |= {
            "kind": plan.kind.value,
            "model": plan.model,
            "source": plan.route.source_id,
            "engine": engine.name,
            "distribution": engine.distribution,
            "version": engine.version,
            "isolation": engine.isolation,
        }
    engines = [
        {
            "engine": verdict.engine.name,
            "distribution": verdict.engine.distribution,
            "status": verdict.engine.status,
            "chosen": verdict.is_chosen,
            "why": verdict.why,
        }
        for verdict in found.engines
    ]
    given = [
        {
            "field": each.wanted.field,
            "role": each.wanted.role,
            "state": each.state,
            "from": each.url,
            "why": str(each.refusal or ""),
        }
        for each in inputs
    ]
    coming = [
        {
            "role": each.file.role,
            "filename": each.file.filename,
            "state": each.state,
            "from": str(each.path or each.url),
            "why": str(each.refusal or ""),
        }
        for each in files
    ]
    if as_json:
        output.json_text(record | {"engines": engines, "inputs": given, "files": coming})
        return
    output.record({key: value for key, value in record.items() if value not in (None, "", [])}, as_json=False)
    if engines:
        output.say("")
        output.rows(engines, as_json=False, columns=ENGINE_COLUMNS)
    if given:
        output.say("")
        output.rows(given, as_json=False, columns=INPUT_COLUMNS)
    if coming:
        output.say("")
        output.rows(coming, as_json=False, columns=FILE_COLUMNS)
