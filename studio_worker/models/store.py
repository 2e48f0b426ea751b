"""The model store: a claim's files as local paths by role, found where they lie or downloaded to where they belong.

Files lie flat in `models_root`; one whose name another file has goes to a folder of its own. Nothing is ever
overwritten. What the store downloads is its own, and is removed again when the quota asks for it; nothing else is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from studio_worker.clock import Clock, SystemClock
from studio_worker.errors import BadClaim, BadInput, ModelUnavailable
from studio_worker.fetch.download import Downloader
from studio_worker.fetch.mirrors import Way
from studio_worker.fetch.off_loop import off_loop
from studio_worker.lookout import Lookout
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.models.ledger import Ledger, Seen
from studio_worker.models.link_folders import drop_stale, link_folder
from studio_worker.models.places import folders, plain_url, sanitised
from studio_worker.models.presence import Presence
from studio_worker.models.progress import OnProgress
from studio_worker.models.quota import Quota
from studio_worker.models.shelf import Shelf, look
from studio_worker.models.supply import Supply
from studio_worker.text import escape
from studio_worker.wire.model_source import ModelFile, ModelSource, plain_file_name

__all__ = ["Store", "sanitised"]


class Store:
    """Files on disk by role.

    Args:
        root: the models folder of this moment.
        downloader: brings what is missing; None: files are used where they lie, and what is missing is an error.
        ledger: the memory of hashes, of what is the store's own and of what is in use; one for this life by default.
        quota_bytes: the most that the store's own files may take at this moment; None: no limit.
        pinned: the models of this moment whose files no quota takes.
        links: where folders of links are made for models whose files lie apart; None: such a model has no folder.
        clock: time.
    """

    def __init__(
        self,
        root: Callable[[], Path],
        *,
        downloader: Downloader | None = None,
        ledger: Ledger | None = None,
        quota_bytes: Callable[[], int | None] = lambda: None,
        pinned: Callable[[], Collection[str]] = tuple,
        links: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root = root
        self._ledger = ledger or Ledger()
        self._links = links
        self._clock = clock or SystemClock()
        self._shelf = Shelf(self._ledger)
        self._presence = Presence()
        self._roots: set[Path] = set()
        quota = Quota(self._ledger, quota_bytes, pinned=pinned, removed=self._removed)
        self._supply = Supply(downloader, self._shelf, self._ledger, quota, self._clock) if downloader else None
        self._ending: set[asyncio.Future[Any]] = set()
        self._lookout = Lookout("room")

    def needs_room(self, model: str, source: ModelSource | None) -> bool:
        """Whether `check_room` has anything to look at: files that are not known to be here. Never blocks."""
        if source is None or not source.files or self._supply is None or self._supply.is_offline:
            return False
        return not self._presence.knows(model, source.files, self._root())

    async def check_room(self, model: str, source: ModelSource) -> None:
        """See whether what is missing of a model's files will fit, before anybody promises to bring them.

        Nothing is downloaded, hashed or removed. Files that the quota would let go count as room.

        Raises:
            ModelUnavailable: they will not fit.
        """
        root, supply = self._root(), self._supply
        if supply is None or not all(_is_plain(file) for file in source.files):
            return
        await self._lookout.look(partial(supply.weigh, model, source.files, root))

    async def trace(self, model: str, file: ModelFile) -> Seen | Way:
        """Where `provision` would find a file, or else begin to download it from, by the code of `provision`.

        A file that is here is hashed where a job would hash it. Nothing is reserved, and nobody asked.

        Raises:
            JobError: as `provision` does, as far as it shows before anybody is asked.
        """
        root = self._root()
        seen, problems = await self._shelf.find(file, folders(root, model, file))
        if seen is not None:
            return seen
        if self._supply is None or self._supply.is_offline:
            raise self._unavailable(file, root, problems)
        return await self._supply.aim(model, file, root)

    async def provision(
        self, model: str, source: ModelSource, options: LoadOptions, *, on_progress: OnProgress | None = None
    ) -> ModelFiles:
        """The model's files, present and checked; files of one role keep the claim's order.

        They count as in use, so that no quota removes them, until `release` or the end of the process.

        Args:
            model: the model id.
            source: the claim's model source.
            options: how the engine is to load the model.
            on_progress: takes the bytes that are here and the bytes in all of what has to be downloaded (None
                while nobody knows).

        Raises:
            BadClaim: a file name is not one plain component.
            ModelUnavailable: a file is missing, is no regular file, or is not the one that the claim names;
                `retryable` says whether another try, or another worker, can help.
            FetchRefused: a URL breaks a rule.
            FetchFailed: a download failed for good.
        """
        if not source.files:
            return ModelFiles(id=model, source=source, options=options)
        for index, file in enumerate(source.files):
            try:
                plain_file_name(file.filename)
            except ValueError as error:
                raise BadClaim(f"modelSource.files.{index}.filename", str(error)) from None
        root = self._root()
        used: list[Seen] = []
        try:
            found = await self._gather(model, source.files, root, on_progress, used)
            folder = await self._folder(
                model, {file.filename: seen.path for file, seen in zip(source.files, found, strict=True)}
            )
        except BaseException:
            self._end_use([seen.path for seen in used])
            raise
        files: dict[str, list[Path]] = {}
        for file, seen in zip(source.files, found, strict=True):
            files.setdefault(file.role, []).append(seen.path)
        return ModelFiles(id=model, source=source, files=files, options=options, dir=folder)

    async def provision_local(
        self, model: str, source: ModelSource | None, options: LoadOptions, files: Mapping[str, Sequence[Path]]
    ) -> ModelFiles:
        """Files of a caller of this process, used where they lie and never written to; in use until `release`.

        Args:
            model: the model id.
            source: which engine is to load them, and its defaults; its own files are not looked at.
            options: how the engine is to load the model.
            files: role to paths, in the order that the engine gets them in.

        Raises:
            BadInput: a path is no regular file with something in it, or two files that lie apart have one name.
        """
        paths = [path.absolute() for each in files.values() for path in each]
        named = {path.name: path for path in paths}
        if len(named) < len(set(paths)):
            raise BadInput("two of the model's files have the same name in different folders: rename one")
        used: list[Seen] = []
        try:
            for path in paths:
                seen = await off_loop(lambda path=path: look(path))  # type: ignore[misc]  # bound to this turn's
                if not isinstance(seen, Seen) or seen.size == 0:
                    raise BadInput(seen if isinstance(seen, str) else f"{path} is {'empty' if seen else 'not there'}")
                await self._begin_use(model, seen, used)
            folder = await self._folder(model, named)
        except BaseException:
            self._end_use([seen.path for seen in used])
            raise
        kept = {role: [path.absolute() for path in each] for role, each in files.items()}
        return ModelFiles(id=model, source=source, files=kept, options=options, dir=folder)

    def release(self, files: ModelFiles) -> None:
        """One use of a model is over. Called on the event loop; returns at once."""
        self._end_use([path for paths in files.files.values() for path in paths])

    async def aclose(self) -> None:
        """Let go of the memory; nothing is in use by this store any more."""
        if self._ending:
            await asyncio.wait(self._ending)
        await off_loop(self._ledger.close)

    async def _gather(
        self, model: str, files: Sequence[ModelFile], root: Path, on_progress: OnProgress | None, used: list[Seen]
    ) -> list[Seen]:
        """Where each file lies: first all that are here, then the others side by side."""
        found: list[Seen | None] = []
        problems: list[list[str]] = []
        for file in files:
            seen, why = await self._shelf.find(file, folders(root, model, file))
            found.append(seen)
            problems.append(why)
            if seen is not None:
                await self._begin_use(model, seen, used)
        missing = [at for at, seen in enumerate(found) if seen is None]
        if missing:
            self._presence.doubt(model, files, root)
            await self._check_root(root)
        if missing and (self._supply is None or self._supply.is_offline):
            raise self._unavailable(files[missing[0]], root, problems[missing[0]])

        async def arrived(at: int, seen: Seen) -> None:
            found[at] = seen
            await self._begin_use(model, seen, used)

        if missing and self._supply is not None:
            wanted = {at: files[at] for at in missing}
            names = frozenset(file.filename for file in files)
            await self._supply.bring(model, root, wanted, names=names, arrived=arrived, on_progress=on_progress)
        self._presence.note(model, files, root)
        self._roots.add(root)
        return [seen for seen in found if seen is not None]

    def _removed(self, path: Path) -> None:
        """A file has made room for others. Called in the quota's thread."""
        self._presence.doubt_all()
        if self._links is not None:
            drop_stale(self._links)

    async def _check_root(self, root: Path) -> None:
        """A folder that files were used from and that is gone is a disk that was unplugged, not one to be made anew."""
        if root in self._roots and not await off_loop(root.is_dir):
            raise ModelUnavailable(f"the models folder {root} is gone: bring it back, or name another as models_root")

    async def _begin_use(self, model: str, seen: Seen, used: list[Seen]) -> None:
        used.append(seen)
        now = self._clock.now().timestamp()

        def begin() -> bool:
            self._ledger.begin_use([seen], model=model, now=now)
            return seen.path.exists()

        # From here on nobody removes it, but somebody may have done so since it was seen.
        if not await off_loop(begin):
            raise ModelUnavailable(f"model file {seen.path} was removed while this job asked for it; try again")

    def _end_use(self, paths: Sequence[Path]) -> None:
        if not paths:
            return
        now = self._clock.now().timestamp()
        work = asyncio.get_running_loop().run_in_executor(None, lambda: self._ledger.end_use(paths, now=now))
        self._ending.add(work)
        work.add_done_callback(self._ending.discard)

    async def _folder(self, model: str, named: Mapping[str, Path]) -> Path | None:
        parents = {path.parent for path in named.values()}
        if len(parents) == 1:
            return parents.pop()
        links = self._links
        if links is None or not named:
            return None
        try:
            return await off_loop(lambda: link_folder(links, model, named))
        except OSError as error:
            raise ModelUnavailable(
                f"{links} cannot hold links to the model's files: {error.strerror or error}"
            ) from error

    def _unavailable(self, file: ModelFile, root: Path, problems: Sequence[str]) -> ModelUnavailable:
        if problems:
            return ModelUnavailable(f"model file {problems[0]}")
        why = ", and models_offline = true asks nobody" if self._supply is not None else ""
        return ModelUnavailable(
            f"model file {escape(file.filename)} (role {file.role}) is not in {root}{why}; "
            f"put it there from {escape(plain_url(file.url), limit=300)}"
        )


def _is_plain(file: ModelFile) -> bool:
    try:
        plain_file_name(file.filename)
    except ValueError:
        return False
    return True
