"""`studio-worker demo`: a studio and a worker in one process, a file of real jobs, a folder of results."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.parameters import port as port_number
from studio_worker.cli.parameters import seconds

if TYPE_CHECKING:
    from studio_worker.cli.demo_jobs import DemoJob
    from studio_worker.config import Config
    from studio_worker.worker import Worker

COLUMNS = ("job", "kind", "engine", "state", "seconds", "file", "result")
POLL_SECS = 0.1


@click.command(
    short_help="Studio and worker in one command: real jobs, real results.",
    epilog="Example: studio-worker demo --out results --serve",
)
@click.option(
    "--jobs",
    "jobs_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A jobs file, one JSON object a line; default: the built-in jobs.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-results"),
    show_default=True,
    metavar="DIR",
    help="Where the results go.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the studio's and the worker's files in this folder instead of a temporary one.",
)
@click.option(
    "--models-root",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where model files lie; default: the configured models_root.",
)
@click.option(
    "--port", default="0", metavar="PORT", callback=port_number, help="The studio's port; default: any free one."
)
@click.option(
    "--timeout",
    "timeout_secs",
    default="600",
    show_default=True,
    metavar="SECS",
    callback=seconds(1.0),
    help="Jobs that are not done by then count as failed.",
)
@click.option("--serve", is_flag=True, help="Keep studio and worker up afterwards, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@pass_invocation
def demo(
    invocation: Invocation, /, jobs_file: Path | None, models_root: Path | None, as_json: bool, **options: Any
) -> None:
    """Start a studio and a worker on free ports, queue jobs of every kind and collect the results.

    The built-in jobs cover image, llm, video, audio_tts and audio_stt, with a chain from text to speech to text. One
    whose engine or model is not here is queued for the synthetic engine instead, and the table says so; the jobs of
    --jobs run on exactly the engine that they name. Exits 0 only if every job came back.
    """
    from studio_worker.cli.demo_jobs import built_in_jobs, read_jobs

    settings = invocation.settings(log_level="error").current
    jobs = read_jobs(jobs_file or built_in_jobs())
    root = (models_root or settings.models_path).absolute()
    for folder in (options["out"], options["keep"]):
        if folder is not None:
            _make(folder)
    try:
        rows = asyncio.run(_play(settings, jobs, root, is_fitted=jobs_file is None, as_json=as_json, **options))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    if not all(row["state"] == "done" for row in rows):
        raise click.exceptions.Exit(1)


async def _play(
    settings: Config,
    jobs: Sequence[DemoJob],
    root: Path,
    *,
    is_fitted: bool,
    out: Path,
    keep: Path | None,
    port: int,
    timeout_secs: float,
    serve: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    from studio_worker.cli.demo_display import display
    from studio_worker.cli.demo_jobs import fitted
    from studio_worker.cli.demo_run import DemoRun
    from studio_worker.cli.signals import SignalLadder, end_at_once
    from studio_worker.cli.studio_admin import StudioAdmin
    from studio_worker.studio.server import StudioServer
    from studio_worker.worker import Worker

    playing = asyncio.current_task()

    def leave() -> None:
        if playing is not None:
            playing.cancel()

    with contextlib.ExitStack() as stack:
        # A signal cancels the play, so that servers, sockets and the temporary folder go as after its end.
        stack.enter_context(SignalLadder(leave, end_at_once))
        home = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="studio-worker-demo-")))
        output.note("starting a studio and a worker …")
        async with StudioServer(home / "studio", port=port, auto_approve=True) as studio:
            output.note(f"dashboard: {studio.login_url()}")
            async with Worker(_settings(settings, studio.url, home / "worker", root)) as worker:
                queued = fitted(jobs, worker.routes, root) if is_fitted else list(jobs)
                admin = StudioAdmin(studio.url, studio.admin_token)
                with display() as shown:
                    rows = await DemoRun(admin, queued, out, shown, timeout_secs=timeout_secs).play()
                output.rows(rows, as_json=as_json, columns=COLUMNS)
                output.note(f"results: {out}")
                if serve:
                    await _serve(worker, studio.login_url())
    return rows


async def _serve(worker: Worker, dashboard: str) -> None:
    """Until a signal: the jobs came back, so that it is no interruption but a clean end."""
    from studio_worker.cli.signals import SignalLadder, end_at_once

    stop = asyncio.Event()
    with SignalLadder(stop.set, end_at_once):
        output.note(f"still up; dashboard: {dashboard}; Ctrl-C ends it")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run())
            await stop.wait()
            running.cancel()


def _settings(settings: Config, studio: str, state: Path, models: Path) -> Config:
    """The operator's settings, but for what ties them to the operator's own studio and state."""
    return settings.beside(state, api_base_url=studio, models_root=models, register_poll_secs=POLL_SECS)


def _make(folder: Path) -> None:
    from studio_worker.errors import ConfigError
    from studio_worker.private_file import reason

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made: {reason(error)}") from None
