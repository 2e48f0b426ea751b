"""The quota: the least recently used of the worker's own files make room; others are never touched."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from studio_worker.errors import ModelUnavailable
from studio_worker.log import logger
from studio_worker.models.ledger import Ledger, Record, Seen
from studio_worker.models.shelf import look


def owned(ledger: Ledger) -> list[Record]:
    """The worker's own files that are still what they were, least recently used first. Blocks."""
    found = [record for record in ledger.records() if record.is_owned and _is_still(record)]
    return sorted(found, key=lambda record: (record.last_used or 0.0, str(record.path)))


def to_evict(ledger: Ledger, quota_bytes: int, *, incoming: int = 0, keep: Collection[Path] = ()) -> list[Record]:
    """The files that must go so that `incoming` bytes more fit into the quota. Blocks; removes nothing.

    Args:
        ledger: the memory.
        quota_bytes: the most that the worker's own files may take.
        incoming: bytes that are on their way.
        keep: files that must stay; those in use stay anyway.

    Raises:
        ModelUnavailable: what may go is not enough.
    """
    files = owned(ledger)
    excess = sum(record.size for record in files) + incoming - quota_bytes
    fixed = {*keep, *ledger.in_use()}
    chosen: list[Record] = []
    for record in files:
        if excess <= 0:
            break
        if record.path not in fixed:
            chosen.append(record)
            excess -= record.size
    if excess > 0 and incoming:
        raise ModelUnavailable(
            f"models_quota_gb: {incoming:,} bytes more do not fit into {quota_bytes:,}, and no more of the "
            "worker's own files can go: raise it, or remove models (`studio-worker models list`)"
        )
    return chosen


def evict(ledger: Ledger, record: Record, why: str) -> bool:
    """Remove one of the worker's own files; False where somebody has begun to use it since it was chosen. Blocks.

    Raises:
        OSError: it cannot be removed.
        ModelUnavailable: nobody can say who uses it.
    """
    is_gone = ledger.unless_used(record.path, lambda: record.path.unlink(missing_ok=True))
    if is_gone:
        logger.bind(event="models.removed", file=record.path.name, size=record.size, why=why).info(
            "Removed a model file"
        )
    return is_gone


def _is_still(record: Record) -> bool:
    found = look(record.path)
    return isinstance(found, Seen) and record.is_of(found) and not record.path.is_symlink()
