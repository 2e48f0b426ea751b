"""`studio-worker status`: what the worker on this machine is doing, or what it would start with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.local_api.client import DaemonClient, NoDaemon
from studio_worker.text import escape


@click.command(
    short_help="Show what the worker on this machine is doing.", epilog="Example: studio-worker status --json"
)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@pass_invocation
def status(invocation: Invocation, as_json: bool) -> None:
    """Show what the worker on this machine is doing.

    Asks the running worker. Where none runs, shows what is known from its files, says so and exits 1.
    """
    try:
        answer = DaemonClient(invocation.discovery_file).status()
    except NoDaemon:
        output.record({"running": False} | dict(_at_rest(invocation)), as_json=as_json)
        raise
    output.record({"running": True} | dict(answer if as_json else _for_people(answer)), as_json=as_json)


def _for_people(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer with its engines and its readiness as words."""
    shown = dict(answer)
    if isinstance(engines := answer.get("engines"), list):
        shown["engines"] = [_engine(each) for each in engines if isinstance(each, dict)]
    if isinstance(pairs := answer.get("quarantined"), list):
        shown["quarantined"] = [_pair(each) for each in pairs if isinstance(each, dict)]
    if isinstance(speeds := answer.get("speeds"), list):
        shown["speeds"] = [_speed(each) for each in speeds if isinstance(each, dict)]
    if isinstance(readiness := answer.get("readiness"), dict):
        code, detail = (str(readiness.get(key) or "") for key in ("code", "detail"))
        shown["readiness"] = f"{code}: {detail}" if detail else code
    return shown


def _engine(engine: Mapping[str, Any]) -> str:
    name, status, reason = (str(engine.get(key) or "") for key in ("name", "status", "reason"))
    return name if status == "available" else f"{name} ({status}{': ' + reason if reason else ''})"


def _pair(pair: Mapping[str, Any]) -> str:
    engine, model = (escape(str(pair.get(key)), limit=200) for key in ("engine", "model"))
    return f"{engine} on {model} (died {pair.get('deaths')} times, tried again in {pair.get('retryInSecs')} s)"


def _speed(speed: Mapping[str, Any]) -> str:
    engine, model = (escape(str(speed.get(key)), limit=200) for key in ("engine", "model"))
    return f"{model} on {engine}: {speed.get('medianSecs')} s ({speed.get('jobs')} jobs)"


def _at_rest(invocation: Invocation) -> Mapping[str, Any]:
    from studio_worker.cli.register import registration

    source = invocation.settings()
    settings = source.current
    return {
        "configPath": str(source.path),
        "apiBaseUrl": settings.api_base_url,
        **registration(source),
        "vramThresholdGb": settings.vram_threshold_gb,
        "modelsRoot": str(settings.models_path),
        "stateDir": str(settings.state_path),
        "autoUpdate": settings.auto_update_enabled,
    }
