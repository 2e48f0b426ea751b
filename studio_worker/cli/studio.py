"""`studio-worker studio`: a studio to host yourself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.parameters import port as port_number
from studio_worker.cli.parameters import whole_number
from studio_worker.places import Places

if TYPE_CHECKING:
    from studio_worker.studio.server import StudioServer

FOLDER = "studio"
"""The default data folder, inside the user's state folder."""


def default_data_dir() -> Path:
    """Where `studio` keeps its data unless told otherwise."""
    return Places.of(os.environ).state_dir / FOLDER


@click.command(
    short_help="Host a studio of your own.",
    epilog="Example: studio-worker studio --port 8787 --data farm --auto-approve",
)
@click.option(
    "--port", default="8787", show_default=True, metavar="PORT", callback=port_number, help="0: any free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of its database and results; default: `studio` in the user's state folder.",
)
@click.option("--auto-approve", is_flag=True, help="Admit every worker that asks.")
@click.option(
    "--max-attempts",
    default="3",
    show_default=True,
    metavar="N",
    callback=whole_number(1, 1_000),
    help="Failures after which a job is not queued again.",
)
@click.option(
    "--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="A host name that a proxy uses; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON.")
@pass_invocation
def studio(
    invocation: Invocation,
    port: int,
    host: str,
    data_dir: Path | None,
    auto_approve: bool,
    max_attempts: int,
    allowed_hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Host a studio of your own.

    Prints its address when it is ready and keeps DATA/admin.json, which `studio-worker jobs` reads. Ctrl-C stops it.
    """
    invocation.set_up_log("info")

    from studio_worker.studio.server import StudioServer
    from studio_worker.studio.timings import Limits

    folder = (data_dir or default_data_dir()).absolute()
    server = StudioServer(
        folder,
        host=host,
        port=port,
        auto_approve=auto_approve,
        allowed_hosts=allowed_hosts,
        limits=Limits(max_attempts=max_attempts),
    )
    asyncio.run(_serve(server, folder, as_json=as_json))


async def _serve(server: StudioServer, folder: Path, *, as_json: bool) -> None:
    from studio_worker.cli.signals import SignalLadder, end_at_once

    stop = asyncio.Event()
    with SignalLadder(stop.set, end_at_once):
        async with server:
            if as_json:
                said = {"url": server.url, "data": str(folder), "adminFile": str(folder / "admin.json")}
                output.json_text(said, indent=None)
            else:
                output.say(f"studio: {server.url}")
                output.note(f"dashboard: {server.login_url()}")
                output.note(f"a worker joins by: STUDIO_WORKER_API_BASE_URL={server.url} studio-worker run")
            await stop.wait()
