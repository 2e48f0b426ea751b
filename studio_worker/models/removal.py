"""Taking files off the shelf: those that are named, or those that have had their time; never one that a job uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from studio_worker.fetch.resumable_file import ResumableFile
from studio_worker.models.inventory import Item, State, unclaimed, whole
from studio_worker.models.ledger import Ledger
from studio_worker.models.quota import log_removal, to_evict

DAY_SECS = 86_400.0


@dataclass(frozen=True, slots=True)
class Victim:
    """A file that is to go, and why: ``quota``, ``unused`` or ``partial``."""

    item: Item
    why: str


def remove(item: Item, ledger: Ledger, why: str) -> bool:
    """Remove a file, or a part with its note; False where a job uses it or a process downloads it now. Blocks.

    Of a link only the link goes.

    Raises:
        OSError: it cannot be removed.
        ModelUnavailable: nobody can say who uses it.
    """
    if item.is_complete:
        is_gone = ledger.unless_used(item.path, lambda: item.path.unlink(missing_ok=True))
    else:
        with unclaimed(item.path) as is_gone:
            if is_gone:
                ResumableFile(whole(item.path)).discard()
    if is_gone:
        log_removal(item.path, item.size, why)
    return is_gone


def choose(
    items: Sequence[Item],
    ledger: Ledger,
    *,
    quota_bytes: int | None = None,
    unused_days: int | None = None,
    partial: bool = False,
    now: float,
) -> list[Victim]:
    """What would be removed, in the order in which it would go. Blocks; removes nothing.

    Complete files go only where the worker has downloaded them itself, nobody uses them and no pinned model has.

    Args:
        items: what lies on the shelf.
        ledger: the memory of uses.
        quota_bytes: the least recently used go until the rest fits; None: no limit.
        unused_days: those go that nobody has used for so long; None: however long.
        partial: the worker's own downloads go that are not complete and that nobody goes on with now.
        now: seconds since the epoch.
    """
    chosen: dict[str, Victim] = {}
    if partial:
        left = (item for item in items if item.state is State.PARTIAL and not item.is_pinned)
        ours = (item for item in left if _is_our_part(item.path))
        chosen |= {item.name: Victim(item, "partial") for item in ours}
    if unused_days is not None:
        longest = unused_days * DAY_SECS
        free = [item for item in items if item.is_owned and not item.is_used and not item.is_pinned]
        idle = [item for item in free if now - last_used(item) >= longest]
        chosen |= {item.name: Victim(item, "unused") for item in sorted(idle, key=last_used)}
    if quota_bytes is not None:
        going = sum(victim.item.size for victim in chosen.values() if victim.item.is_owned)
        by_path = {item.path: item for item in items}
        fixed = {victim.item.path for victim in chosen.values()} | {item.path for item in items if item.is_pinned}
        for record in to_evict(ledger, quota_bytes + going, keep=fixed):
            if (item := by_path.get(record.path)) is not None:
                chosen[item.name] = Victim(item, "quota")
    return list(chosen.values())


def _is_our_part(part: Path) -> bool:
    """Whether a note of ours speaks of it; browsers and other programs have parts as well."""
    return ResumableFile(whole(part)).note() is not None


def last_used(item: Item) -> float:
    """Seconds since the epoch: the last use, else the time when the file was written."""
    used = item.record.last_used if item.record is not None else None
    return item.mtime_ns / 1e9 if used is None else used
