"""Bringing the files of a model that are not here: room for all of them first, then side by side to their places."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path

from studio_worker.clock import Clock
from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.download import Downloaded, Downloader
from studio_worker.fetch.leftovers import sweep
from studio_worker.fetch.mirrors import Way
from studio_worker.fetch.off_loop import off_loop
from studio_worker.fetch.resumable_file import ResumableFile
from studio_worker.fetch.wanted import OnBytes, WantedFile
from studio_worker.log import logger
from studio_worker.models.formats.pickles import check_head
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.places import folders, identity, own_folder, plain_url
from studio_worker.models.preflight import preflight
from studio_worker.models.progress import DownloadProgress, OnProgress
from studio_worker.models.quota import Quota
from studio_worker.models.shelf import SIZE_FACTOR, Shelf, look
from studio_worker.text import escape
from studio_worker.wire.model_source import MAX_FILE_BYTES, ModelFile


class Supply:
    """Downloads model files to where they belong.

    Args:
        downloader: brings one file.
        shelf: finds what has come in the meantime.
        ledger: is told what is the worker's own now.
        quota: the bound of the worker's own files.
        clock: time.
    """

    def __init__(self, downloader: Downloader, shelf: Shelf, ledger: Ledger, quota: Quota, clock: Clock) -> None:
        self._downloader = downloader
        self._shelf = shelf
        self._ledger = ledger
        self._quota = quota
        self._clock = clock
        self._swept: set[Path] = set()

    @property
    def is_offline(self) -> bool:
        """Whether the operator wants nobody to be asked."""
        return self._downloader.is_offline

    async def bring(
        self,
        model: str,
        root: Path,
        missing: Mapping[int, ModelFile],
        *,
        names: Collection[str],
        arrived: Callable[[int, Seen], Awaitable[None]],
        on_progress: OnProgress | None,
    ) -> None:
        """Bring files; the first failure ends the others.

        Args:
            model: the model id.
            root: the models folder.
            missing: the files, by any number.
            names: the names of all files of the model, which are the only ones that a file may refer to.
            arrived: told of each file that is there, with its number.
            on_progress: takes the bytes that are here and the bytes in all.

        Raises:
            JobError: as `Store.provision` says.
        """
        progress = DownloadProgress(model, on_progress, self._clock)

        async def one(at: int, file: ModelFile, tell: OnBytes) -> None:
            seen = await self._file(model, file, root, names, tell)
            tell(seen.size, seen.size)
            await arrived(at, seen)

        begun: list[Hashable] = []
        try:
            await off_loop(lambda: self._make_room(model, list(missing.values()), root, begun))
            async with asyncio.TaskGroup() as group:
                for at, file in missing.items():
                    tell = progress.file(file.approx_bytes or 0)
                    group.create_task(one(at, file, tell), name=f"download-{file.filename}")
        except ExceptionGroup as error:
            raise error.exceptions[0] from None
        finally:
            self._quota.end(begun)

    async def aim(self, model: str, file: ModelFile, root: Path) -> Way:
        """Where `bring` would begin to download a file from; nobody is asked, nothing written.

        Raises:
            JobError: as `Store.provision` says, as far as it shows before anybody is asked.
        """
        places = await off_loop(lambda: _free_places(model, file, root))
        if not places:
            raise _no_place(file, ())
        return await self._downloader.aim(self._wanted(file, places[0], root, (file.filename,)))

    def weigh(self, model: str, files: Sequence[ModelFile], root: Path) -> None:
        """See whether what is missing of `files` will fit, and leave everything as it is. Blocks.

        What the quota would let go for it counts as room; what is on its way already has its room.

        Raises:
            ModelUnavailable: the disk has not the room, or the quota cannot make it.
        """
        here = {at: self._shelf.likely(file, folders(root, model, file)) for at, file in enumerate(files)}
        missing = [
            file for at, file in enumerate(files) if here[at] is None and not self._quota.is_coming(_coming(file, root))
        ]
        if not missing:
            return
        about = sum(file.approx_bytes or 0 for file in missing)
        going = self._quota.freed_by(about, keep=[path for path in here.values() if path is not None])
        # A file of which nobody says how long it is wants the reserve at the least.
        missing_bytes = max(sum(_missing_bytes(model, file, root) for file in missing), 1)
        self._check_disk(root, missing_bytes, len(missing), [(record.path, record.size) for record in going])

    def _make_room(self, model: str, files: Sequence[ModelFile], root: Path, begun: list[Hashable]) -> None:
        """Let files go until all of what is on its way fits, and see whether the disk has the room. Blocks."""
        if root not in self._swept:
            self._swept.add(root)
            self._sweep(root)
        missing_bytes = 0
        for file in files:
            coming = _coming(file, root)
            if not self._quota.is_coming(coming):
                missing_bytes += _missing_bytes(model, file, root)
            self._quota.begin(coming, file.approx_bytes or 0)
            begun.append(coming)
        self._check_disk(root, missing_bytes, len(files), ())

    def _sweep(self, root: Path) -> None:
        """Tidy up before the first download; no job fails for it."""
        try:
            sweep(root, now=self._clock.now().timestamp())
        except OSError as error:
            logger.bind(event="models.sweep_failed", folder=str(root), error=str(error)).warning(
                "Unfinished downloads of the past could not be removed"
            )

    def _check_disk(self, root: Path, missing_bytes: int, count: int, going: Sequence[tuple[Path, int]]) -> None:
        what = f"{count} model file{'s' * (count > 1)}"
        try:
            self._downloader.disk.check(root, missing_bytes, what, freed=going)
        except OSError as error:
            raise ModelUnavailable(f"{root} cannot be looked at: {error.strerror or error}") from error

    async def _file(self, model: str, file: ModelFile, root: Path, names: Collection[str], tell: OnBytes) -> Seen:
        """Download a file to the first of its places that is free."""
        problems: list[str] = []
        for dest in await off_loop(lambda: _free_places(model, file, root)):
            got = await self._downloader.download(self._wanted(file, dest, root, names), tell)
            seen = await off_loop(lambda dest=dest: look(dest))  # type: ignore[misc]  # bound to this turn's
            if got is not None and isinstance(seen, Seen):
                await off_loop(lambda seen=seen, got=got: self._own(model, file, root, seen, got))  # type: ignore[misc]
                return seen
            seen, problems = await self._shelf.find(file, folders(root, model, file))
            if seen is not None:
                return seen
        raise _no_place(file, problems)

    def _wanted(self, file: ModelFile, dest: Path, root: Path, names: Collection[str]) -> WantedFile:
        about = file.approx_bytes or 0
        return WantedFile(
            url=file.url,
            dest=dest,
            what=f"model file {escape(file.filename)}",
            sha256=file.sha256.lower() if file.sha256 else None,
            smallest=max(math.ceil(about / SIZE_FACTOR), 1),
            largest=int(about * SIZE_FACTOR) or MAX_FILE_BYTES,
            expected=about,
            announce=lambda total: self._quota.announce(_coming(file, root), total),
            grown=lambda size: self._quota.freed_by(max(size - about, 0)),
            look=lambda head: check_head(head, file.filename),
            inspect=lambda path: preflight(path, file.filename, beside=names),
        )

    def _own(self, model: str, file: ModelFile, root: Path, seen: Seen, got: Downloaded) -> None:
        now = self._clock.now().timestamp()
        self._ledger.own(seen, sha256=got.sha256, url=plain_url(file.url), model=model, now=now)
        self._quota.arrived(_coming(file, root), seen.path)


def _free_places(model: str, file: ModelFile, root: Path) -> list[Path]:
    """The places of a file where nothing lies, the preferred one first. Blocks."""
    places = [folder / file.filename for folder in (root, own_folder(root, model, file))]
    return [place for place in places if not os.path.lexists(place)]


def _no_place(file: ModelFile, problems: Sequence[str]) -> ModelUnavailable:
    """Why a file cannot be put anywhere; `problems` are what is wrong with what lies there."""
    return ModelUnavailable(f"model file {problems[0] if problems else f'{file.filename}: its places are taken'}")


def _coming(file: ModelFile, root: Path) -> Hashable:
    """What the quota knows a file on its way by. Many are called model.onnx: the name alone would make one of two."""
    return root, file.filename, identity(file)


def _missing_bytes(model: str, file: ModelFile, root: Path) -> int:
    """About how many bytes of a file are not here yet; 0 where nobody says how long it is. Blocks."""
    dest = next(iter(_free_places(model, file, root)), root / file.filename)
    return max((file.approx_bytes or 0) - ResumableFile(dest).look(), 0)
