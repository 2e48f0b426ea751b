"""Where the files of a model would come from, found out without fetching anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from studio_worker.config import Config
from studio_worker.errors import FetchRefused, JobError, ModelUnavailable
from studio_worker.fetch.guard import shown
from studio_worker.models.files import LoadOptions
from studio_worker.models.ledger import Ledger
from studio_worker.models.settings import guard, open_store
from studio_worker.models.store import Store
from studio_worker.wire.model_source import ModelFile, ModelSource


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutlook:
    """What would become of one file of a model source.

    Attributes:
        file: as the source names it.
        state: ``here``, ``download``, or ``refused``.
        path: where it lies; None where it is not here.
        url: where it would come from, without what a log must not hold.
        why: why it would be refused; empty where it would not.
    """

    file: ModelFile
    state: Literal["here", "download", "refused"]
    url: str
    path: Path | None = None
    why: str = ""


async def outlook(settings: Config, model: str, source: ModelSource, *, user_agent: str) -> tuple[FileOutlook, ...]:
    """An outlook a file, in the source's order. Files that are here are hashed where a job would hash them.

    Raises:
        ModelUnavailable: what is missing would not fit.
    """
    ledger = Ledger.of(settings.state_path)
    here = Store(lambda: settings.models_path, ledger=ledger)
    store = open_store(lambda: settings, guard=lambda: guard(settings), user_agent=user_agent, ledger=ledger)
    try:
        found = [await _of(settings, here, model, source.engine, file) for file in source.files]
        if any(each.state == "download" for each in found):
            await store.check_room(model, source)
        return tuple(found)
    finally:
        await here.aclose()
        await store.aclose()


async def _of(settings: Config, here: Store, model: str, engine: str, file: ModelFile) -> FileOutlook:
    url = shown(file.url)
    try:
        files = await here.provision(model, ModelSource(engine=engine, files=(file,)), LoadOptions())
    except ModelUnavailable as error:
        missing = error
    except JobError as error:
        return FileOutlook(file=file, state="refused", url=url, why=str(error))
    else:
        here.release(files)
        return FileOutlook(file=file, state="here", url=url, path=files.files[file.role][0])
    if settings.models_offline:
        return FileOutlook(file=file, state="refused", url=url, why=f"{missing} (models_offline = true asks nobody)")
    try:
        guard(settings).check(file.url, what=f"the URL of {file.filename}")
    except FetchRefused as error:
        return FileOutlook(file=file, state="refused", url=url, why=str(error))
    return FileOutlook(file=file, state="download", url=url)
