"""`studio-worker models verify`, `remove` and `prune`: what keeps the models folder sound and small."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.parameters import gigabytes, if_given, whole_number
from studio_worker.text import escape

if TYPE_CHECKING:
    from studio_worker.cli.models_shelf import Stock
    from studio_worker.models.removal import Victim
    from studio_worker.models.verification import Verified

VERIFIED = ("name", "verdict", "sha256")
WORDS = {"quota": " (over the quota)", "unused": " (not used for long)", "partial": " (not complete)"}


@click.command(
    "verify", short_help="Hash model files anew.", epilog="Example: studio-worker models verify tiny.gguf --json"
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--accept", is_flag=True, help="Take files as they are now: their hashes of before are forgotten.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def verify(invocation: Invocation, names: tuple[str, ...], accept: bool, as_json: bool) -> None:
    """Hash model files anew, compare with what is remembered, and look at their heads; all of them without a NAME.

    NAME is a file as `models list` shows it, a file name, or the id of a model. The hash of a file that nobody knew
    is remembered. Exits 1 if a file is bad: not what it was, empty, unreadable, or one that no engine should open.
    """
    from studio_worker.cli.models_display import file_display
    from studio_worker.cli.models_shelf import open_stock
    from studio_worker.models import verification

    if accept and not names:
        raise click.UsageError("--accept needs a NAME")
    found: list[Verified] = []
    with open_stock(invocation) as stock, file_display() as shown:
        chosen = stock.named(names) if names else [item for item in stock.items if item.is_complete]
        if parts := [item.name for item in chosen if not item.is_complete]:
            raise click.BadParameter(f"{parts[0]} is not complete: `studio-worker models pull` goes on with it")
        for item in chosen:
            track = shown.track(item.name)
            found.append(verification.verify(item, stock.ledger, accept=accept, on_bytes=track.tell))
            track.end(found[-1].verdict.value)
    if as_json:
        output.json_text([_verified(each) for each in found])
    else:
        output.rows([_verified(each) for each in found], as_json=False, columns=VERIFIED, empty="there are no files")
    bad = [each for each in found if each.problem]
    for each in bad:
        output.note(f"studio-worker: {each.problem}: {_remedy(each)}")
    if bad:
        raise click.exceptions.Exit(1)


@click.command(
    "remove", short_help="Remove model files.", epilog="Example: studio-worker models remove tiny.gguf --yes"
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def remove(invocation: Invocation, names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove model files, your own ones too.

    NAME is a file as `models list` shows it, a file name, or the id of a model: all files that it used last. Asks
    first; where nobody can be asked --yes is needed. A file that a job uses now, or that is being downloaded, stays,
    and then nothing is removed. Of a link only the link goes.
    """
    from studio_worker.cli.models_shelf import names_of, open_stock
    from studio_worker.cli.quantities import size_text
    from studio_worker.errors import ModelUnavailable
    from studio_worker.models.inventory import State
    from studio_worker.models.removal import Victim

    with open_stock(invocation) as stock:
        chosen = stock.named(names)
        if busy := [item for item in chosen if item.is_used or item.state is State.DOWNLOADING]:
            raise ModelUnavailable(f"{names_of(busy)}: in use now, so nothing is removed; wait, or stop the worker")
        if not yes and not _agrees(f"Remove {names_of(chosen)} ({size_text(sum(item.size for item in chosen))})?"):
            output.note("nothing is removed")
            raise click.exceptions.Exit(1)
        removed, kept = _remove(stock, [Victim(item, "asked") for item in chosen])
    if as_json:
        output.json_text(_json(removed, kept))
    else:
        _tell(removed)
    if kept:
        raise click.exceptions.Exit(1)


@click.command(
    "prune",
    short_help="Remove downloads that have had their time.",
    epilog="Example: studio-worker models prune --older-than 30 --partial --dry-run",
)
@click.option(
    "--quota-gb", metavar="GB", callback=if_given(gigabytes(0)), help="Least recently used ones, until the rest fits."
)
@click.option(
    "--older-than",
    metavar="DAYS",
    callback=if_given(whole_number(0, 36_500)),
    help="Those that nobody has used for so long.",
)
@click.option("--partial", is_flag=True, help="Downloads that are not complete, and that nobody goes on with now.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_invocation
def prune(
    invocation: Invocation,
    quota_gb: float | None,
    older_than: int | None,
    partial: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove downloads that have had their time, the least recently used first.

    Without an option: until models_quota_gb holds. Only what the worker has downloaded itself goes, never a file of
    your own, and never one that a job uses now or that a model of pinned_models has used.
    """
    from studio_worker.cli.models_shelf import open_stock
    from studio_worker.models.removal import choose

    has_rule = quota_gb is not None or older_than is not None or partial
    with open_stock(invocation) as stock:
        quota = stock.quota if not has_rule else None if quota_gb is None else int(quota_gb * 1e9)
        if not has_rule and quota is None:
            raise click.UsageError("models_quota_gb is not set: say --quota-gb, --older-than or --partial")
        chosen = choose(
            stock.items, stock.ledger, quota_bytes=quota, unused_days=older_than, partial=partial, now=time.time()
        )
        removed, kept = (chosen, []) if dry_run else _remove(stock, chosen)
    left = stock.owned_size - sum(each.item.size for each in removed if each.item.is_owned)
    if as_json:
        output.json_text(_json(removed, kept) | {"dryRun": dry_run, "downloadedBytes": left, "quotaBytes": quota})
    else:
        _tell(removed, dry_run=dry_run)
    if quota is not None and left > quota:
        output.note(
            "what is left is more than the quota: jobs use it now, or pinned_models keeps it; prune again later"
        )


def _remove(stock: Stock, victims: list[Victim]) -> tuple[list[Victim], list[Victim]]:
    """What has gone, and what has not, because somebody uses it by now or the disk refuses; says why."""
    from studio_worker.errors import ModelUnavailable
    from studio_worker.models.link_folders import drop_stale, link_root
    from studio_worker.models.removal import remove
    from studio_worker.private_file import reason

    removed: list[Victim] = []
    kept: list[Victim] = []
    for victim in victims:
        try:
            is_gone, why = remove(victim.item, stock.ledger, victim.why), "it is in use now"
        except (OSError, ModelUnavailable) as error:
            is_gone, why = False, reason(error)
        (removed if is_gone else kept).append(victim)
        if not is_gone:
            output.note(f"studio-worker: {victim.item.name} stays: {why}")
    drop_stale(link_root(stock.settings.state_path))
    return removed, kept


def _tell(removed: list[Victim], *, dry_run: bool = False) -> None:
    from studio_worker.cli.quantities import size_text

    begin, are = ("would remove", "would be") if dry_run else ("removed", "are")
    for victim in removed:
        output.say(f"{begin} {victim.item.name}, {size_text(victim.item.size)}{WORDS.get(victim.why, '')}")
    freed = size_text(sum(victim.item.size for victim in removed))
    output.say(f"{freed} {are} free again" if removed else "nothing to remove")


def _json(removed: list[Victim], kept: list[Victim]) -> dict[str, Any]:
    def shown(victim: Victim) -> dict[str, Any]:
        return {
            "name": victim.item.name,
            "path": str(victim.item.path),
            "sizeBytes": victim.item.size,
            "why": victim.why,
        }

    return {
        "removed": [shown(each) for each in removed],
        "kept": [shown(each) for each in kept],
        "freedBytes": sum(each.item.size for each in removed),
    }


def _verified(found: Verified) -> dict[str, Any]:
    return {
        "name": found.item.name,
        "verdict": found.verdict.value,
        "path": str(found.item.path),
        "sizeBytes": found.item.size,
        "sha256": found.sha256,
        "expectedSha256": found.item.known,
        "problem": found.problem or None,
        "remedy": _remedy(found) if found.problem else None,
    }


def _remedy(found: Verified) -> str:
    name = found.item.name
    cure = f"`studio-worker models remove {name}`, and a job or `studio-worker models pull` brings it again"
    if found.item.record is None or not found.item.record.url:
        cure = f"`studio-worker models remove {name}`, and put a sound one there"
    if found.is_changed:
        cure += f"; if you have replaced it yourself, `studio-worker models verify --accept {name}`"
    return cure


def _agrees(question: str) -> bool:
    """What the person at the terminal says."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes")
    return click.confirm(escape(question), err=True)
