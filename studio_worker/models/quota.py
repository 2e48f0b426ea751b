"""The quota: the least recently used of the worker's own files make room; others are never touched."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from pathlib import Path

from studio_worker.errors import ModelUnavailable
from studio_worker.log import logger
from studio_worker.models.holds import is_held
from studio_worker.models.ledger import Ledger, Record, Seen
from studio_worker.models.path_keys import place_of
from studio_worker.models.shelf import look


class Quota:
    """Keeps the worker's own files, and what is on its way, within the bound of the moment.

    All methods but `end` and `is_coming` block.

    Args:
        ledger: the memory.
        quota_bytes: the most that the worker's own files may take at this moment; None: no limit.
        pinned: the models of this moment whose files stay.
        removed: told of each file that made room.
    """

    def __init__(
        self,
        ledger: Ledger,
        quota_bytes: Callable[[], int | None],
        *,
        pinned: Callable[[], Collection[str]] = tuple,
        removed: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self._ledger = ledger
        self._quota_bytes = quota_bytes
        self._pinned = pinned
        self._removed = removed
        self._evicting = threading.Lock()
        self._counting = threading.Lock()
        self._incoming: dict[Hashable, int] = {}
        self._waiting: Counter[Hashable] = Counter()

    def begin(self, file: Hashable, about_bytes: int) -> None:
        """A file is on its way, of about so many bytes; several callers may want the same one.

        Args:
            file: tells it from every other one, also from one of the same name.
            about_bytes: how many it has, 0 where nobody said.

        Raises:
            ModelUnavailable: it does not fit, whatever goes.
        """
        with self._counting:
            self._waiting[file] += 1
            self._incoming.setdefault(file, about_bytes)
        try:
            self._make_room()
        except ModelUnavailable:
            self.end((file,))
            raise

    def is_coming(self, file: Hashable) -> bool:
        """Whether the file is on its way, so that its room is spoken for. Does not block."""
        return file in self._incoming

    def announce(self, file: Hashable, total_bytes: int) -> None:
        """How long a file on its way really is.

        Raises:
            ModelUnavailable: it does not fit, whatever goes.
        """
        with self._counting:
            self._incoming[file] = total_bytes
        self._make_room()

    def arrived(self, file: Hashable, place: Path) -> None:
        """A file lies at `place` and is in the ledger; where nobody had known its length, others go for it now."""
        with self._counting:
            self._incoming[file] = 0
        try:
            self._make_room(keep=(place,))
        except ModelUnavailable as error:
            logger.bind(event="models.over_quota", error=str(error)).warning("The quota for models is exceeded")

    def end(self, files: Iterable[Hashable]) -> None:
        """One of those who want these files has them, or has given up."""
        with self._counting:
            for file in files:
                self._waiting[file] -= 1
                if self._waiting[file] <= 0:
                    del self._waiting[file]
                    self._incoming.pop(file, None)

    def freed_by(self, incoming_bytes: int, *, keep: Collection[Path] = ()) -> list[Record]:
        """The files that would go if so many bytes more were on their way. Removes nothing.

        Args:
            incoming_bytes: how many.
            keep: files that must stay.

        Raises:
            ModelUnavailable: they do not fit, whatever goes.
        """
        quota = self._quota_bytes()
        if quota is None:
            return []
        with self._counting:
            incoming = sum(self._incoming.values()) + incoming_bytes
        return to_evict(self._ledger, quota, incoming=incoming, keep=keep, pinned=self._pinned())

    def _make_room(self, keep: Collection[Path] = ()) -> None:
        quota = self._quota_bytes()
        if quota is None:
            return
        with self._evicting:
            with self._counting:
                incoming = sum(self._incoming.values())
            stays: set[Path] = set(keep)
            refused: list[OSError] = []
            while True:
                try:
                    chosen = to_evict(self._ledger, quota, incoming=incoming, keep=stays, pinned=self._pinned())
                except ModelUnavailable:
                    if not refused:
                        raise
                    raise ModelUnavailable(f"models_quota_gb: a file cannot be removed: {refused[0]}") from refused[0]
                left = next((record for record in chosen if not self._is_evicted(record, refused)), None)
                if left is None:
                    return
                # Somebody uses it by now, or the disk keeps it: others are chosen in its place.
                stays.add(left.path)

    def _is_evicted(self, record: Record, refused: list[OSError]) -> bool:
        """Remove a file; whether it is gone. What the disk says against it goes into `refused`."""
        try:
            is_gone = evict(self._ledger, record, "quota")
        except OSError as error:
            refused.append(error)
            return False
        if is_gone:
            self._removed(record.path)
        return is_gone


def owned(ledger: Ledger) -> list[Record]:
    """The worker's own files that are still what they were, least recently used first. Blocks.

    One that is remembered by two of its paths counts once, with its last use.
    """
    found = [record for record in ledger.records() if record.is_owned and _is_still(record)]
    by_place = {place_of(record.path): record for record in sorted(found, key=_age)}
    return sorted(by_place.values(), key=_age)


def to_evict(
    ledger: Ledger,
    quota_bytes: int,
    *,
    incoming: int = 0,
    keep: Collection[Path] = (),
    pinned: Collection[str] = (),
) -> list[Record]:
    """The files that must go so that `incoming` bytes more fit into the quota. Blocks; removes nothing.

    Args:
        ledger: the memory.
        quota_bytes: the most that the worker's own files may take.
        incoming: bytes that are on their way.
        keep: files that must stay; those in use stay anyway.
        pinned: models whose files must stay.

    Raises:
        ModelUnavailable: what may go is not enough.
    """
    files = owned(ledger)
    excess = sum(record.size for record in files) + incoming - quota_bytes
    if excess <= 0:
        return []
    fixed = {place_of(path) for path in (*keep, *ledger.in_use(), *ledger.files_of(pinned))}
    chosen: list[Record] = []
    for record in files:
        if excess <= 0:
            break
        if place_of(record.path) not in fixed and not is_held(record.path):
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
        log_removal(record.path, record.size, why)
    return is_gone


def log_removal(path: Path, size: int, why: str) -> None:
    """Leave the one line that tells of a model file's end, whoever removed it."""
    logger.bind(event="models.removed", file=path.name, size=size, why=why).info("Removed a model file")


def _age(record: Record) -> tuple[float, str]:
    return record.last_used or 0.0, str(record.path)


def _is_still(record: Record) -> bool:
    found = look(record.path)
    return isinstance(found, Seen) and record.is_of(found) and not record.path.is_symlink()
