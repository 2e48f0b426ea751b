"""`studio-worker jobs`: the queue of a studio, by its admin API; with --local what this machine's worker has done."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.core import ParameterSource

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.jobs_watch import follow_to_end
from studio_worker.cli.parameters import whole_number
from studio_worker.cli.stdin_line import STDIN, read_line

if TYPE_CHECKING:
    from studio_worker.cli.studio_admin import StudioAdmin

LOCAL_COLUMNS = ("jobId", "state", "kind", "model", "engine", "acceptedAt", "settledAt", "bytes", "note")
COLUMNS = ("jobId", "state", "kind", "model", "engine", "attempts", "workerId", "error")


def admin_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which studio; the command gets a `StudioAdmin` as `admin`."""

    @click.option("--studio", "studio_url", metavar="URL", help="The studio's address.")
    @click.option(
        "--token",
        envvar="STUDIO_WORKER_ADMIN_TOKEN",
        show_envvar=True,
        metavar="TOKEN",
        help="Its admin token; better given by the variable, or with - by a line of stdin.",
    )
    @click.option(
        "--admin-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The studio's admin.json, or its data folder; default: that of `studio-worker studio`.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(command)
    def with_admin(
        *args: Any, studio_url: str | None, token: str | None, admin_file: Path | None, **options: Any
    ) -> None:
        if token == str(options.get("file")) == STDIN:
            raise click.UsageError("stdin cannot be both the file and the --token")
        command(*args, admin=lambda: _admin(studio_url, token, admin_file), **options)

    return with_admin


def _admin(studio_url: str | None, token: str | None, admin_file: Path | None) -> StudioAdmin:
    from studio_worker.cli.studio import default_data_dir
    from studio_worker.cli.studio_admin import StudioAdmin

    if studio_url is not None:
        if not token:
            raise click.UsageError("--studio needs --token, or the variable STUDIO_WORKER_ADMIN_TOKEN")
        if token == STDIN:
            token = read_line("Admin token", hint="--token")
        return StudioAdmin(studio_url, token)
    path = admin_file or default_data_dir()
    return StudioAdmin.from_file(path / "admin.json" if path.is_dir() or admin_file is None else path)


@click.group(
    invoke_without_command=True,
    short_help="Show, add, cancel and retry the jobs of a studio.",
    epilog="Example: studio-worker jobs add docs/examples/jobs.jsonl --watch",
)
@click.option("--local", is_flag=True, help="Show the latest jobs that this machine's worker took, from its journal.")
@click.option(
    "--limit",
    default="50",
    show_default=True,
    metavar="N",
    callback=whole_number(1, 1_000_000),
    help="With --local: how many.",
)
@admin_options
@pass_invocation
@click.pass_context
def jobs(
    context: click.Context,
    invocation: Invocation,
    admin: Callable[[], StudioAdmin],
    local: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show, add, cancel and retry the jobs of a studio.

    Without a command: the list. The studio is the one that runs here (by its admin.json), or that --studio names.
    With --local no studio is asked: the worker's own journal is read, also while the worker runs.
    """
    if local:
        if context.invoked_subcommand is not None:
            raise click.UsageError("--local shows a list; it goes with no command")
        if any(context.params.get(name) for name in ("studio_url", "token", "admin_file")):
            raise click.UsageError("--local reads this machine's journal; it goes with no studio")
        _list_local(invocation, limit, as_json=as_json)
        return
    if context.get_parameter_source("limit") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--limit goes with --local: a studio's list is shown whole")
    if context.invoked_subcommand is None:
        _list(admin(), as_json=as_json)
        return
    given = {key: value for key, value in context.params.items() if value not in (None, False) and key != "limit"}
    context.default_map = dict.fromkeys(jobs.commands, given)


@jobs.command("list", short_help="Show all jobs.", epilog="Example: studio-worker jobs list --json")
@click.option("--watch", is_flag=True, help="Follow every change until all jobs have ended.")
@admin_options
def list_(admin: Callable[[], StudioAdmin], watch: bool, as_json: bool) -> None:
    """Show all jobs of the studio.

    With --watch: a line (with --json an object) for each change; exits 1 if a job ended without a result.
    """
    if watch:
        _follow(admin(), None, _printer(as_json=as_json))
    else:
        _list(admin(), as_json=as_json)


@jobs.command("show", short_help="Show one job.", epilog="Example: studio-worker jobs show job-1 --watch")
@click.argument("job_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Wait until it has ended.")
@admin_options
def show(admin: Callable[[], StudioAdmin], job_id: str, watch: bool, as_json: bool) -> None:
    """Show one job with its result; with --watch exits 1 if it ended without one."""
    asked = admin()
    job = asked.job(job_id)
    is_done = not watch or follow_to_end(asked, [job_id], lambda _: None)
    output.record(asked.job(job_id) if watch else job, as_json=as_json)
    if not is_done:
        raise click.exceptions.Exit(1)


@jobs.command(
    "add", short_help="Queue the jobs of a file.", epilog="Example: studio-worker jobs add docs/examples/jobs.jsonl"
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--watch", is_flag=True, help="Wait until they have ended; exit 1 if one has no result.")
@admin_options
def add(admin: Callable[[], StudioAdmin], file: Path, watch: bool, as_json: bool) -> None:
    """Queue the jobs of FILE, one JSON object {id?, model, task, modelSource, vramGbEstimate?} a line; - is stdin.

    A file is checked as a whole before the first of its jobs is queued; of stdin each line is queued as it comes, up
    to the first bad one.
    """
    from studio_worker.cli.jobs_file import bad_line, ignored_fields, job_lines
    from studio_worker.cli.studio_admin import StudioSaysNo

    name = "stdin" if str(file) == "-" else str(file)
    asked = admin()
    added: list[str] = []
    with _opened(file, name) as stream:
        if stream.seekable():
            start = stream.tell()
            for _ in job_lines(stream, name):
                continue
            stream.seek(start)
        for number, job in job_lines(stream, name):
            try:
                added.append(asked.add(job))
            except StudioSaysNo as error:
                if error.status in (401, 403) or error.status >= 500:
                    raise
                raise bad_line(name, number, str(error)) from None
            for said in ignored_fields(job):
                output.note(f"{name}, line {number}: {said}")
            if as_json:
                output.json_text({"line": number, "jobId": added[-1]}, indent=None)
            else:
                output.say(added[-1])
    if watch:
        _follow(asked, added, _printer(as_json=as_json))


@jobs.command("cancel", short_help="Cancel a job.", epilog="Example: studio-worker jobs cancel job-1")
@click.argument("job_id", metavar="ID")
@admin_options
def cancel(admin: Callable[[], StudioAdmin], job_id: str, as_json: bool) -> None:
    """Cancel a job that waits or runs."""
    output.record(admin().cancel(job_id), as_json=as_json)


@jobs.command("retry", short_help="Queue a job anew.", epilog="Example: studio-worker jobs retry job-1")
@click.argument("job_id", metavar="ID")
@admin_options
def retry(admin: Callable[[], StudioAdmin], job_id: str, as_json: bool) -> None:
    """Queue a job anew, its failures forgotten."""
    output.record(admin().retry(job_id), as_json=as_json)


def _list(admin: StudioAdmin, *, as_json: bool) -> None:
    found = admin.jobs()
    if as_json:
        output.json_text(found)
    else:
        output.rows([_row(job) for job in found], as_json=False, columns=COLUMNS, empty="the studio has no jobs")


def _list_local(invocation: Invocation, limit: int, *, as_json: bool) -> None:
    from studio_worker.jobs.journal_view import latest_jobs

    found = latest_jobs(invocation.settings().current.state_path, limit)
    output.rows(found, as_json=as_json, columns=LOCAL_COLUMNS, empty="this machine's worker has taken no jobs")


def _row(job: Mapping[str, Any]) -> dict[str, Any]:
    task, source = job.get("task"), job.get("modelSource")
    return dict(job) | {
        "kind": task.get("kind") if isinstance(task, dict) else None,
        "engine": source.get("engine") if isinstance(source, dict) else None,
    }


def _follow(admin: StudioAdmin, job_ids: list[str] | None, tell: Callable[[Mapping[str, Any]], None]) -> None:
    if not follow_to_end(admin, job_ids, tell):
        raise click.exceptions.Exit(1)


def _printer(*, as_json: bool) -> Callable[[Mapping[str, Any]], None]:
    def tell(job: Mapping[str, Any]) -> None:
        told = {key: job[key] for key in ("jobId", "state", "workerId", "error") if job.get(key) is not None}
        if as_json:
            output.json_text(told, indent=None)
        else:
            output.say("  ".join(str(value) for value in told.values()))

    return tell


def _opened(file: Path, name: str) -> AbstractContextManager[BinaryIO]:
    from studio_worker.cli.jobs_file import BadJobsFile
    from studio_worker.private_file import reason

    if str(file) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except (OSError, ValueError) as error:
        raise BadJobsFile(f"{name} cannot be read: {reason(error)}") from None
