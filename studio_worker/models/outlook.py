"""What would become of a model's files, found out by the store that live jobs use, without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from studio_worker.errors import JobError
from studio_worker.fetch.guard import shown
from studio_worker.models.ledger import Seen
from studio_worker.models.store import Store
from studio_worker.wire.model_source import ModelFile, ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutlook:
    """What would become of one file of a model source.

    Attributes:
        file: as the source names it.
        state: ``here``, ``download``, or ``refused``.
        path: where it lies; None where it is not here.
        url: where it would come from, a mirror it may be, without what a log must not hold.
        refusal: why it would be refused; None where it would not.
    """

    file: ModelFile
    state: Literal["here", "download", "refused"]
    url: str
    path: Path | None = None
    refusal: JobError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutlook:
    """What would become of a job's model files.

    Attributes:
        files: an outlook a file, in the source's order.
        no_room: why what is missing does not fit, which is told ahead of all else; None: it fits.
    """

    files: tuple[FileOutlook, ...] = ()
    no_room: JobError | None = None

    @property
    def refusal(self) -> JobError | None:
        """Why a job would fail for its files; None where it would not."""
        return next((each.refusal for each in self.files if each.refusal is not None), None)


async def outlook(store: Store, model: str, source: ModelSource) -> ModelOutlook:
    """The outlook of a model's files. Those that are here are hashed where a job would hash them.

    No name is looked up and no server asked: what a name leads to, and what lies there, may be refused yet.

    Args:
        store: as a worker opens it, with the guard of its jobs.
        model: the model id.
        source: the claim's model source.
    """
    # As an offer is weighed: a file of the right name is taken for the right one.
    no_room = await _no_room(store, model, source)
    files = tuple([await _of(store, model, file) for file in source.files])
    if no_room is None and any(each.state != "here" for each in files):
        # As its job finds out then: what was hashed may be another file.
        no_room = await _no_room(store, model, source)
    return ModelOutlook(files=files, no_room=no_room)


async def _no_room(store: Store, model: str, source: ModelSource) -> JobError | None:
    if not store.needs_room(model, source):
        return None
    try:
        await store.check_room(model, source)
    except JobError as error:
        return error
    return None


async def _of(store: Store, model: str, file: ModelFile) -> FileOutlook:
    try:
        found = await store.trace(model, file)
    except JobError as error:
        return FileOutlook(file=file, state="refused", url=shown(file.url), refusal=error)
    if isinstance(found, Seen):
        return FileOutlook(file=file, state="here", url=shown(file.url), path=found.path)
    return FileOutlook(file=file, state="download", url=shown(found.url))
