"""`studio-worker set-threshold`."""

from __future__ import annotations

import click

from studio_worker.cli import output
from studio_worker.cli.config import change
from studio_worker.cli.invocation import Invocation, pass_invocation


@click.command(
    "set-threshold",
    short_help="Set how much video memory a job may ask for.",
    epilog="Example: studio-worker set-threshold 10.5",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("gb", metavar="GB")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@pass_invocation
def set_threshold(invocation: Invocation, gb: str, as_json: bool) -> None:
    """Set how much video memory, in GB, a job may ask for.

    Jobs that ask for more are not offered to this worker. A running worker takes the change by its next heartbeat.
    """
    settings = change(invocation.settings(), "vram_threshold_gb", gb or "nothing", hint="GB")
    if as_json:
        output.json_text({"vram_threshold_gb": settings.vram_threshold_gb})
    else:
        output.say(f"vram_threshold_gb = {settings.vram_threshold_gb}")
