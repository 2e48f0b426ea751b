"""`studio-worker pause` and `studio-worker resume`."""

from __future__ import annotations

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.local_api.client import DaemonClient


@click.command(short_help="Let the running worker take no new jobs.", epilog="Example: studio-worker pause")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def pause(invocation: Invocation, as_json: bool) -> None:
    """Let the running worker take no new jobs; those that run are finished."""
    answer = DaemonClient(invocation.discovery_file).pause()
    output.record(answer, as_json=as_json)


@click.command(short_help="Let the running worker take jobs again.", epilog="Example: studio-worker resume")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@pass_invocation
def resume(invocation: Invocation, as_json: bool) -> None:
    """Let the running worker take jobs again."""
    answer = DaemonClient(invocation.discovery_file).resume()
    output.record(answer, as_json=as_json)
