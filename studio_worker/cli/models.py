"""`studio-worker models`: the model files of this machine, and bringing more of them."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.models_upkeep import prune, remove, verify

if TYPE_CHECKING:
    from studio_worker.cli.models_pull import Pulled
    from studio_worker.cli.models_source import Asked
    from studio_worker.config import Config
    from studio_worker.models.intake import Taken

COLUMNS = ("name", "size", "used", "sha256", "model", "state")
CAME = ("filename", "size", "state", "path")


@click.group(
    invoke_without_command=True,
    short_help="Show, pull, add, verify and remove model files.",
    epilog="Example: studio-worker models pull docs/examples/jobs.jsonl",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """Show, pull, add, verify and remove model files.

    Without a command: the list. The files are those of models_root, with what the worker remembers of them in its
    state folder; a worker may run meanwhile.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Invocation), as_json=as_json)


models.add_command(verify)
models.add_command(remove)
models.add_command(prune)


@models.command("list", short_help="List the model files.", epilog="Example: studio-worker models list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def list_(invocation: Invocation, as_json: bool) -> None:
    """List the model files: size, last use, hash where it is known, and downloads that are not complete.

    The last line tells the total, how much of it the worker has downloaded itself (what models_quota_gb counts), and
    what is free on the disk. Files of a model that pinned_models names are shown as pinned.
    """
    _list(invocation, as_json=as_json)


def _list(invocation: Invocation, *, as_json: bool) -> None:
    from studio_worker.cli.models_shelf import json_of, open_stock, row_of, summary, totals

    with open_stock(invocation) as stock:
        if as_json:
            output.json_text(totals(stock) | {"files": [json_of(item) for item in stock.items]})
            return
        if stock.items:
            output.rows([row_of(item) for item in stock.items], as_json=False, columns=COLUMNS)
        output.say(summary(stock))


@models.command(
    "pull",
    short_help="Download the files of a model.",
    epilog="Example: studio-worker models pull --url https://models.example/a.gguf --role model",
)
@click.argument("source", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--url", metavar="URL", help="Instead of SOURCE: where one file is.")
@click.option("--role", default="model", show_default=True, metavar="ROLE", help="What that file is for.")
@click.option("--filename", metavar="NAME", help="Its name here; default: the last part of the URL.")
@click.option("--sha256", metavar="HEX", help="The hash that it must have.")
@click.option(
    "--model",
    metavar="ID",
    help="The model's id, where SOURCE names none. It counts where another file has the name of this one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def pull(
    invocation: Invocation,
    source: Path | None,
    url: str | None,
    role: str,
    filename: str | None,
    sha256: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Download the files of a model, as a job would, before a job needs them.

    SOURCE is a file of JSON, or - for stdin: a modelSource object, or jobs that have one, a job a line. Files that
    are here already are not fetched. A pull that is stopped, or killed, goes on where it was when it is called again.
    The rules of the worker hold: models_root, models_quota_gb, models_offline, model_mirrors, hf_token or HF_TOKEN,
    allow_private_urls. Exits 1 if a file did not come; the others did.
    """
    from studio_worker.cli.models_source import read_sources, source_of
    from studio_worker.errors import BadClaim

    if (source is None) == (url is None):
        raise click.UsageError("say what to pull: SOURCE, or --url")
    if url is None and (filename or sha256):
        raise click.UsageError("--filename and --sha256 belong to --url")
    settings = invocation.settings().current
    if url is None:
        assert source is not None
        asked = read_sources(source, model)
    else:
        try:
            asked = [source_of(url, role=role, filename=filename, sha256=sha256, model=model)]
        except BadClaim as error:
            raise click.BadParameter(error.problem, param_hint=f"--{error.field}") from None
    _show_pulled(_pull(settings, asked), as_json=as_json)


def _pull(settings: Config, asked: list[Asked]) -> list[Pulled]:
    from studio_worker.cli.models_display import file_display
    from studio_worker.cli.models_pull import pull
    from studio_worker.cli.signals import SignalLadder, end_at_once
    from studio_worker.config.folders import prepare_folders

    async def main() -> list[Pulled]:
        pulling = asyncio.current_task()

        def leave() -> None:
            if pulling is not None:
                pulling.cancel()

        with SignalLadder(leave, end_at_once), file_display() as shown:
            return await pull(settings, asked, shown)

    if not asked:
        output.note("these models have no files: there is nothing to pull")
        return []
    prepare_folders(settings)
    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _show_pulled(pulled: list[Pulled], *, as_json: bool) -> None:
    failed = [each for each in pulled if each.error is not None]
    _show_files([each.to_json() for each in pulled], as_json=as_json)
    for each in failed:
        output.note(f"studio-worker: {each.asked.file.filename}: {each.error}")
    if failed:
        raise click.exceptions.Exit(1)


@models.command(
    "add",
    short_help="Put files of your own into the models folder.",
    epilog="Example: studio-worker models add ~/Downloads/tiny.gguf",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="Its name there, of a single PATH; default: the name that it has.")
@click.option("--sha256", metavar="HEX", help="The hash that it must have, of a single PATH.")
@click.option("--copy", is_flag=True, help="Copy also where a hard link would do.")
@click.option("--move", is_flag=True, help="Remove PATH once the file is in its place.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def add(
    invocation: Invocation,
    paths: tuple[Path, ...],
    name: str | None,
    sha256: str | None,
    copy: bool,
    move: bool,
    as_json: bool,
) -> None:
    """Put files of your own into the models folder, under the names that jobs give them.

    On one disk by a hard link, which takes no room and shares its bytes with PATH: use --copy if PATH is going to be
    written to. Nothing is overwritten, files that no engine should open are refused by their content, and the hash is
    remembered, so that jobs need not compute it. No quota removes what you added.
    """
    from studio_worker.cli.models_display import file_display
    from studio_worker.config.folders import prepare_folders
    from studio_worker.errors import JobError
    from studio_worker.models.intake import take_in
    from studio_worker.models.ledger import Ledger
    from studio_worker.private_file import reason

    if len(paths) > 1 and (name or sha256):
        raise click.UsageError("--as and --sha256 take a single PATH")
    settings = invocation.settings().current
    targets = [(path, settings.models_path / _plain(name or path.name, is_given=name is not None)) for path in paths]
    prepare_folders(settings)
    taken: list[Taken] = []
    failed = False
    with closing(Ledger.of(settings.state_path)) as ledger, file_display() as shown:
        for path, dest in targets:
            track = shown.track(dest.name)
            try:
                taken.append(take_in(path, dest, ledger, sha256=sha256, copy=copy, move=move, on_bytes=track.tell))
                track.end(taken[-1].way.value)
            except (JobError, OSError) as error:
                failed = True
                track.end(f"not added: {reason(error)}")
    _show_files([each.to_json() for each in taken], as_json=as_json)
    if failed:
        raise click.exceptions.Exit(1)


def _show_files(files: list[dict[str, Any]], *, as_json: bool) -> None:
    from studio_worker.cli.quantities import size_text

    if as_json:
        output.json_text({"files": files})
    elif files:
        sizes = ["" if each["sizeBytes"] is None else size_text(each["sizeBytes"]) for each in files]
        shown = [each | {"size": size} for each, size in zip(files, sizes, strict=True)]
        output.rows(shown, as_json=False, columns=CAME)


def _plain(name: str, *, is_given: bool) -> str:
    from studio_worker.text import escape
    from studio_worker.wire.model_source import plain_file_name

    try:
        return plain_file_name(name)
    except ValueError as error:
        hint = "" if is_given else "; give it another one by --as"
        said = escape(f"the name {name!r} {error}{hint}")
        raise click.BadParameter(said, param_hint="--as" if is_given else "PATH") from None
