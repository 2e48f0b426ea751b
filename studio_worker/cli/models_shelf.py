"""What the `models` commands see: the shelf of the settings in force, its files by name, and how they are shown."""

from __future__ import annotations

import difflib
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from studio_worker.cli.invocation import Invocation
from studio_worker.cli.quantities import age_text, size_text
from studio_worker.clock import rfc3339
from studio_worker.config import Config
from studio_worker.errors import ConfigError
from studio_worker.fetch.disk import nearest_folder
from studio_worker.models.inventory import Item, State, pick, take_stock
from studio_worker.models.ledger import Ledger
from studio_worker.private_file import reason
from studio_worker.text import escape

HASH_DIGITS = 12
NEAREST = 3


@dataclass(frozen=True, slots=True)
class Stock:
    """The shelf at one moment: the settings, the memory, and what lies there."""

    settings: Config
    ledger: Ledger
    items: list[Item]

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return sum(item.size for item in self.items)

    @property
    def owned_size(self) -> int:
        """Bytes of what the worker has downloaded itself: what the quota counts."""
        return sum(item.size for item in self.items if item.is_owned)

    @property
    def quota(self) -> int | None:
        """`models_quota_gb` in bytes."""
        return self.settings.models_quota_bytes

    @property
    def free(self) -> int | None:
        """Bytes that are free on the disk of the models folder; None where that is not known."""
        folder = self.settings.models_path.absolute()
        try:
            return shutil.disk_usage(nearest_folder(folder)).free
        except OSError:
            return None

    def named(self, names: Iterable[str]) -> list[Item]:
        """The items that these names stand for, each once.

        Raises:
            BadParameter: nothing has one of the names; says which names are near to it.
        """
        found: dict[str, Item] = {}
        for name in names:
            chosen = pick(self.items, name)
            if not chosen:
                raise click.BadParameter(self._unknown(name), param_hint="NAME")
            found |= {item.name: item for item in chosen}
        return list(found.values())

    def _unknown(self, name: str) -> str:
        known = {item.name for item in self.items} | {item.path.name for item in self.items}
        known |= {item.record.model for item in self.items if item.record is not None and item.record.model}
        near = difflib.get_close_matches(name[:300], sorted(known), n=NEAREST, cutoff=0.5)
        said = f"did you mean {' or '.join(near)}?" if near else "`studio-worker models list` shows what there is"
        return escape(f"there is no {name!r} in {self.settings.models_path}: {said}")


@contextmanager
def open_stock(invocation: Invocation) -> Iterator[Stock]:
    """The shelf of the settings in force; its memory is closed afterwards.

    Raises:
        ConfigError: the settings, or the models folder that they name, cannot be used.
    """
    settings = invocation.settings().current
    ledger = Ledger.of(settings.state_path)
    try:
        try:
            items = take_stock(settings.models_path, ledger, pinned=settings.pinned_models)
        except OSError as error:
            raise ConfigError(
                f"models_root: {escape(str(settings.models_path))} cannot be read: {reason(error)}; "
                "make it readable or set models_root to another one"
            ) from None
        yield Stock(settings, ledger, items)
    finally:
        ledger.close()


def json_of(item: Item) -> dict[str, Any]:
    """An item as `--json` shows it."""
    record = item.record
    used = record.last_used if record is not None else None
    return {
        "name": item.name,
        "path": str(item.path),
        "state": item.state.value,
        "sizeBytes": item.size,
        "totalBytes": item.total if not item.is_complete else item.size,
        "lastUsed": rfc3339(datetime.fromtimestamp(used, UTC)) if used is not None else None,
        "sha256": record.sha256 if record is not None else None,
        "isDownloaded": item.is_owned,
        "isUsed": item.is_used,
        "isPinned": item.is_pinned,
        "model": (record.model or None) if record is not None else None,
        "url": (record.url or None) if record is not None else None,
        "problem": item.problem or None,
    }


def row_of(item: Item) -> dict[str, Any]:
    """An item as a table's row."""
    record = item.record
    used = record.last_used if record is not None else None
    return {
        "name": item.name,
        "size": size_text(item.size),
        "used": "now" if item.is_used else age_text(time.time() - used) if used is not None else "",
        "sha256": (record.sha256 or "")[:HASH_DIGITS] if record is not None else "",
        "model": record.model if record is not None else "",
        "state": _state(item),
    }


def summary(stock: Stock) -> str:
    """Totals in one line: files, what the quota counts, the disk."""
    count = len(stock.items)
    quota = f"of {size_text(stock.quota)} (models_quota_gb)" if stock.quota is not None else "(no models_quota_gb)"
    free = f", {size_text(stock.free)} free" if stock.free is not None else ""
    return (
        f"{stock.settings.models_path}: {count} file{'' if count == 1 else 's'}, {size_text(stock.size)}; "
        f"downloaded {size_text(stock.owned_size)} {quota}{free}"
    )


def totals(stock: Stock) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "modelsRoot": str(stock.settings.models_path),
        "totalBytes": stock.size,
        "downloadedBytes": stock.owned_size,
        "quotaBytes": stock.quota,
        "freeBytes": stock.free,
    }


def names_of(items: Sequence[Item]) -> str:
    """Names for a sentence."""
    return ", ".join(item.name for item in items)


def _state(item: Item) -> str:
    if item.state is State.BROKEN:
        return f"broken: {item.problem}"
    if item.is_complete:
        return ("downloaded" if item.is_owned else "yours") + (", pinned" if item.is_pinned else "")
    of = f", {item.size * 100 // item.total} % of {size_text(item.total)}" if item.total else ""
    return f"{item.state.value}{of}"
