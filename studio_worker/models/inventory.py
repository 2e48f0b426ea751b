"""What lies on the shelf: every model file and every download that is not complete, with what is remembered of it.

The folders that are looked into are those that `places.folders` names: flat, a folder a model, and the older worker's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from filelock import FileLock, Timeout

from studio_worker.fetch.resumable_file import ResumableFile, lock_path
from studio_worker.models.holds import is_held
from studio_worker.models.ledger import Ledger, Record, Seen
from studio_worker.models.path_keys import place_of
from studio_worker.models.quota import owned
from studio_worker.models.shelf import look

PART = ".part"
"""How the name of a download ends that is not complete."""

NOT_MODELS = frozenset({"bin", "onnxruntime"})
"""Folders of programs that the older worker keeps beside the models."""


class State(Enum):
    """What a file on the shelf is."""

    WHOLE = "whole"
    PARTIAL = "partial"
    """A part of a file; nobody downloads it now."""
    DOWNLOADING = "downloading"
    BROKEN = "broken"
    """No file that could be read; `Item.problem` says why."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file.

    Attributes:
        name: its path below the models folder, with slashes; the whole path where it lies elsewhere.
        path: where it lies.
        state: what it is.
        size: bytes on disk.
        total: bytes that it will have, of a part; None: not known.
        mtime_ns: its modification time.
        record: what is remembered of the very file; None: nothing, or of another one that had this name.
        known: the hash that the file should have, also where the file has changed since; None: not known.
        is_used: whether a job uses it now.
        is_pinned: whether it is a file, or a part of one, of a model that the operator has pinned.
        problem: why it is broken.
    """

    name: str
    path: Path
    state: State
    size: int = 0
    total: int | None = None
    mtime_ns: int = 0
    record: Record | None = None
    known: str | None = None
    is_used: bool = False
    is_pinned: bool = False
    problem: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether it is a file and no part of one."""
        return self.state in (State.WHOLE, State.BROKEN)

    @property
    def is_owned(self) -> bool:
        """Whether the worker has downloaded it, and may remove it."""
        return self.record is not None and self.record.is_owned and not self.path.is_symlink()

    @property
    def seen(self) -> Seen:
        """What the file was when it was looked at."""
        return Seen(self.path, self.size, self.mtime_ns)


def take_stock(root: Path, ledger: Ledger, *, pinned: Collection[str] = ()) -> list[Item]:
    """Everything on the shelf, by name; downloads that lie below another models folder of before come last. Blocks.

    Args:
        root: the models folder.
        ledger: what is remembered.
        pinned: the models that the operator has pinned.

    Raises:
        OSError: the models folder cannot be read; one that is not there is empty.
    """
    used = frozenset(place_of(path) for path in ledger.in_use())
    fixed = frozenset(place_of(path) for path in ledger.files_of(pinned))
    records = {record.path: record for record in ledger.records()}
    expected = ledger.expected()

    def item(path: Path, name: str) -> Item:
        record = records.get(path)
        known = expected.get(path) or (record.sha256 if record is not None else None)
        place = place_of(path if not name.endswith(PART) else whole(path))
        found = _item(path, name, record, known, is_used=place in used)
        return replace(found, is_pinned=place in fixed)

    found = sorted((item(path, _name(path, root)) for path in _paths(root)), key=lambda item: item.name)
    here = {item.path for item in found}
    return found + [item(record.path, str(record.path)) for record in owned(ledger) if record.path not in here]


def pick(items: Sequence[Item], name: str) -> list[Item]:
    """The items that a name stands for: a name as `Item.name`, a path, a file name, or the id of a model.

    A file name that several have stands for all of them, as does the id of a model for all files that it used last.
    """
    for key in (lambda item: item.name, lambda item: str(item.path), lambda item: item.path.name, _model, _whole_name):
        if chosen := [item for item in items if key(item) == name]:
            return chosen
    return []


@contextmanager
def unclaimed(part: Path) -> Iterator[bool]:
    """Whether nobody downloads into `part` now; nobody begins to within the block. Blocks for the disk."""
    lock = lock_path(whole(part))
    if not lock.parent.is_dir():
        yield True
        return
    held = FileLock(lock, timeout=0, thread_local=False)
    try:
        held.acquire()
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def whole(part: Path) -> Path:
    """Where the file of a part goes when it is complete."""
    return part.with_name(part.name.removesuffix(PART))


def _paths(root: Path) -> Iterator[Path]:
    for path in _entries(root, must=True):
        if not path.is_dir():
            yield path
        elif path.name not in NOT_MODELS:
            for inner in _entries(path):
                if not inner.is_dir():
                    yield inner
                elif path.name == "stt":
                    yield from (deepest for deepest in _entries(inner) if not deepest.is_dir())


def _entries(folder: Path, *, must: bool = False) -> list[Path]:
    """What a folder holds but for hidden names; one below the shelf that cannot be read holds nothing."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError:
        if must:
            raise
        return []


def _item(path: Path, name: str, record: Record | None, known: str | None, *, is_used: bool) -> Item:
    if name.endswith(PART):
        part = ResumableFile(whole(path))
        here, total = part.progress()
        with unclaimed(path) as is_free:
            return Item(name, path, State.PARTIAL if is_free else State.DOWNLOADING, here, total)
    seen = look(path)
    if not isinstance(seen, Seen):
        return Item(name, path, State.BROKEN, known=known, problem=seen or f"{path} is not there any more")
    return Item(
        name,
        path,
        State.WHOLE,
        seen.size,
        mtime_ns=seen.mtime_ns,
        record=record if record is not None and record.is_of(seen) else None,
        known=known,
        is_used=is_used or is_held(path),
    )


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _model(item: Item) -> str | None:
    return item.record.model or None if item.record is not None else None


def _whole_name(item: Item) -> str | None:
    return whole(item.path).name if not item.is_complete else None
