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
from studio_worker.errors import JobError
from studio_worker.fetch.partial import Partial
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.models.places import folders
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
    store = open_store(lambda: settings, guard=lambda: guard(settings), user_agent=USER_AGENT)
    # Until all are here, so that the quota does not remove the first for the last.
    held: list[ModelFiles] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(store, settings.models_path, each, display, held)) for each in asked]
        return [task.result() for task in tasks]
    except asyncio.CancelledError:
        await asyncio.to_thread(_tell_parts, settings.models_path, asked)
        raise
    finally:
        for files in held:
            store.release(files)
        await store.aclose()


async def _one(store: Store, root: Path, asked: Asked, display: FileLines | FileBars, held: list[ModelFiles]) -> Pulled:
    file = asked.file
    track = display.track(file.filename)
    before = await asyncio.to_thread(_there, root, asked)
    try:
        files = await store.provision(
            asked.model, ModelSource(engine=NO_ENGINE, files=(file,)), LoadOptions(), on_progress=track.tell
        )
    except JobError as error:
        track.end(FAILED)
        return Pulled(asked, FAILED, error=str(error))
    held.append(files)
    [path] = files.files[file.role]
    size = (await asyncio.to_thread(path.stat)).st_size
    return _ended(track, Pulled(asked, HERE if path in before else DOWNLOADED, path, size))


def _ended(track: Track, pulled: Pulled) -> Pulled:
    track.end("was here already" if pulled.state == HERE else f"downloaded, {size_text(pulled.size or 0)}")
    return pulled


def _there(root: Path, asked: Asked) -> set[Path]:
    """What lies in the places of a file, be it the right one or not."""
    places = [folder / asked.file.filename for folder in folders(root, asked.model, asked.file)]
    return {path for path in places if path.exists()}


def _tell_parts(root: Path, asked: Sequence[Asked]) -> None:
    for each in asked:
        for folder in folders(root, each.model, each.file):
            here, total = Partial(folder / each.file.filename).progress()
            if here:
                of = f" of {size_text(total)}" if total else ""
                output.note(f"{each.file.filename}: {size_text(here)}{of} kept; the same command goes on from there")
