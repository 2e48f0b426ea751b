"""Pulling model files through the worker's own store: the same rules, folders, quota and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio_worker.cli import output
from studio_worker.cli.models_display import FileBars, FileLines, Track
from studio_worker.cli.models_source import NO_ENGINE, Asked
from studio_worker.cli.quantities import size_text
from studio_worker.config import Config
from studio_worker.errors import JobError, ModelUnavailable
from studio_worker.fetch.resumable_file import ResumableFile
from studio_worker.models.files import LoadOptions
from studio_worker.models.ledger import Ledger
from studio_worker.models.places import folders
from studio_worker.models.progress import OnProgress
from studio_worker.models.settings import guard, open_store
from studio_worker.models.store import Store
from studio_worker.session.studio_http import USER_AGENT
from studio_worker.wire.model_source import ModelSource

DOWNLOADED, HERE, FAILED = "downloaded", "here", "failed"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What became of one file.

    Attributes:
        asked: the file.
        state: ``downloaded``, ``here`` (it was there already) or ``failed``.
        path: where it lies; None where it failed.
        size: bytes.
        error: why it failed.
    """

    asked: Asked
    state: str
    path: Path | None = None
    size: int | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "model": self.asked.model,
            "role": self.asked.file.role,
            "filename": self.asked.file.filename,
            "state": self.state,
            "path": str(self.path) if self.path else None,
            "sizeBytes": self.size,
            "error": self.error,
        }


async def pull(settings: Config, asked: Sequence[Asked], display: FileLines | FileBars) -> list[Pulled]:
    """Bring files that are missing, side by side; one that fails stops no other.

    A cancellation leaves the parts for the next time, and says how much of each is here.
    """
    ledger = Ledger.of(settings.state_path)
    here = Store(lambda: settings.models_path, ledger=ledger)
    store = open_store(lambda: settings, guard=lambda: guard(settings), user_agent=USER_AGENT, ledger=ledger)
    tracks = [display.track(each.file.filename) for each in asked]
    # What is here counts as in use before the first download begins, and what has come until the last one has ended:
    # so the quota takes no file of this pull for another.
    try:
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(_found(here, *pair)) for pair in zip(asked, tracks, strict=True)]
        found = [task.result() for task in looking]
        async with asyncio.TaskGroup() as group:
            coming = {
                at: group.create_task(_brought(store, asked[at], tracks[at]))
                for at, pulled in enumerate(found)
                if pulled is None
            }
        return [pulled or coming[at].result() for at, pulled in enumerate(found)]
    except asyncio.CancelledError:
        await asyncio.to_thread(_tell_parts, settings.models_path, asked)
        raise
    finally:
        await here.aclose()
        await store.aclose()


async def _found(store: Store, asked: Asked, track: Track) -> Pulled | None:
    """The file, where it lies in one of its places already."""
    try:
        path = await _provisioned(store, asked)
    except ModelUnavailable:
        return None
    pulled = Pulled(asked, HERE, path, await _size(path))
    track.end("was here already")
    return pulled


async def _brought(store: Store, asked: Asked, track: Track) -> Pulled:
    try:
        path = await _provisioned(store, asked, track.tell)
    except JobError as error:
        track.end(FAILED)
        return Pulled(asked, FAILED, error=str(error))
    pulled = Pulled(asked, DOWNLOADED, path, await _size(path))
    track.end(f"downloaded, {size_text(pulled.size or 0)}")
    return pulled


async def _provisioned(store: Store, asked: Asked, on_progress: OnProgress | None = None) -> Path:
    source = ModelSource(engine=NO_ENGINE, files=(asked.file,))
    files = await store.provision(asked.model, source, LoadOptions(), on_progress=on_progress)
    [path] = files.files[asked.file.role]
    return path


async def _size(path: Path) -> int:
    return (await asyncio.to_thread(path.stat)).st_size


def _tell_parts(root: Path, asked: Sequence[Asked]) -> None:
    for each in asked:
        for folder in folders(root, each.model, each.file):
            here, total = ResumableFile(folder / each.file.filename).progress()
            if here:
                of = f" of {size_text(total)}" if total else ""
                output.note(f"{each.file.filename}: {size_text(here)}{of} kept; the same command goes on from there")
