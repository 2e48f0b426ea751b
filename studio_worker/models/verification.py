"""Whether a model file still is what it was: hashed anew, compared with what is remembered, its head looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.models.inventory import Item
from studio_worker.models.ledger import Ledger
from studio_worker.models.preflight import preflight
from studio_worker.models.shelf import hash_of, look
from studio_worker.private_file import reason


class Verdict(Enum):
    """What became of a file."""

    GOOD = "good"
    """Its hash is the known one."""
    NEW = "new"
    """Nobody knew its hash; it is remembered from now on."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found out about one file.

    Attributes:
        item: the file.
        verdict: what became of it.
        sha256: its hash; None where it could not be read.
        problem: what is wrong with it, with the file as its subject; empty: nothing.
        is_changed: whether its hash is another one than the known one, so that taking it as it is would cure it.
    """

    item: Item
    verdict: Verdict
    sha256: str | None = None
    problem: str = ""
    is_changed: bool = False


def verify(
    item: Item, ledger: Ledger, *, accept: bool = False, on_bytes: Callable[[int, int], None] = lambda done, total: None
) -> Verified:
    """Hash a file and judge it. Blocks for as long as the disk takes.

    The hash of a file that nobody knew is remembered, so that jobs need not compute it. One that is not what it was
    is no longer trusted: the next job that gives a hash computes it again.

    Args:
        item: a file on the shelf.
        ledger: the memory of hashes.
        accept: take the file as it is, whatever its hash was before.
        on_bytes: told the bytes that are hashed, and all of them.
    """
    if item.problem:
        return Verified(item, Verdict.BAD, problem=item.problem)
    try:
        sha256 = hash_of(item.path, item.size, on_bytes)
        problem = _head_problem(item)
        after = look(item.path)
    except OSError as error:
        return Verified(item, Verdict.BAD, problem=f"{item.name} cannot be read: {reason(error)}")
    if after != item.seen:
        return Verified(item, Verdict.BAD, sha256, f"{item.name} was written to while it was read")
    if item.known not in (None, sha256) and not accept:
        ledger.doubt(item.path)
        changed = f"{item.name} has the SHA-256 {sha256}, and had {item.known} before"
        return Verified(item, Verdict.BAD, sha256, problem or changed, is_changed=not problem)
    if problem:
        return Verified(item, Verdict.BAD, sha256, problem)
    ledger.trust(item.seen, sha256)
    return Verified(item, Verdict.GOOD if item.known == sha256 else Verdict.NEW, sha256)


def _head_problem(item: Item) -> str:
    """What an engine would trip over, without reading the whole file."""
    if item.size == 0:
        return f"{item.name} is empty"
    try:
        preflight(item.path, item.path.name, beside=None)
    except BadModelFile as error:
        return str(error)
    return ""
