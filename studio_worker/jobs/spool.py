"""The files of kept results, safe from a power loss.

A new file gets its name when it is whole. One that is written over, because its own result is settled, may be torn by
a crash; then the row that is to say what it holds is not there, or has another checksum, and the result was never kept.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.disk_thread import DiskThread
from studio_worker.jobs.hang_watch import PATIENCE_SECS, HangWatch
from studio_worker.jobs.results import is_result_name, new_result_name
from studio_worker.log import logger
from studio_worker.private_file import PRIVATE, make_own_folder, make_private_folder, sync_file, sync_folder

_T = TypeVar("_T")

_PART = ".part"

_BLOCK = 1024 * 1024

MAX_SPARES = 4
MAX_SPARE_BYTES = 8 * 1024 * 1024
"""Files of settled results up to this size are written over: a file that exists is synced in a third of the time."""


def holds_results(folder: Path) -> bool:
    """Whether results lie in a spool. Blocks; a folder that cannot be read holds none."""
    try:
        return any(_is_ours(file) for file in folder.iterdir())
    except OSError:
        return False


class MadeFileGone(Exception):
    """The file of a result is not where its engine left it, which says nothing of the spool."""


class Spool:
    """A folder that nobody else looks into (0700). One thread does all its work, in the order in which it is asked for.

    Args:
        folder: where; made where it is missing.
        hangs: told when the thread waits for the disk.
    """

    def __init__(self, folder: Path, hangs: HangWatch) -> None:
        self.folder = folder
        self._hangs = hangs
        self._thread = DiskThread("spool")
        self._spares: list[Path] = []
        self._earlier: set[str] = set()
        self._stranded: set[str] = set()

    async def open(self, wanted: Collection[str]) -> None:
        """Make the folder, and remove the files of results that nobody has `wanted` by name.

        Raises:
            ConfigError: it is another user's.
            OSError: it cannot be made, or read.
        """
        self._earlier = set(wanted)
        await self._ask(partial(self._sweep, wanted))

    async def set_aside(self, folder: Path) -> None:
        """Move all results to `folder`, before `open`: nobody knows any more what they are.

        Those that cannot be moved stay where they are. Raises OSError.
        """
        await self._ask(partial(self._set_aside, folder))

    def set_earlier_aside(self, folder: Path, known: Collection[str]) -> None:
        """Move what was `wanted` at the opening to `folder` some time soon, but for what is `known` by name."""
        unknown = self._earlier.difference(known)
        self._earlier -= unknown
        self._thread.ask(partial(self._try_to_move, unknown, folder))

    async def aclose(self, within_secs: float = PATIENCE_SECS) -> None:
        """Finish what was asked for, as far as that goes in time, and leave only results that somebody is to get."""
        self._thread.ask(self._remove_spares)
        await self._thread.aclose(within_secs)

    def new_file(self) -> Path:
        """A path for one more result: a random name, nothing of the claim becomes part of it.

        It may be the file of a settled result, to be written over. Only the row of a result, which holds its size and
        its checksum, says what in a file counts.
        """
        return self._spares.pop() if self._spares else self.folder / new_result_name()

    def write(self, file: Path, data: bytes) -> asyncio.Future[None]:
        """Have `data` under the name `file`, whole and safe; raises OSError, and then nothing is left of it."""
        return self._ask(partial(self._write, file, data))

    def take(self, file: Path, made: Path) -> asyncio.Future[str]:
        """Move the file `made` to the name `file`, whole and safe; its checksum.

        Raises OSError as `write` does, and MadeFileGone.
        """
        return self._ask(partial(self._take, file, made))

    async def probe(self) -> None:
        """Write a file and remove it; the folder is made again where somebody removed it. Raises OSError."""
        file = self.folder / new_result_name()
        await self._ask(partial(self._probe, file))

    def remove(self, name: str) -> None:
        """Remove a result's file some time soon, or write another one over it; what is not there is no matter."""
        if is_result_name(name):
            self._thread.ask(partial(self._retire, self.folder / name))

    def _ask(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        return asyncio.wrap_future(self._thread.ask(call))

    def _write(self, file: Path, data: bytes) -> None:
        with self._hangs.at_work(len(data)):
            _write(file, data)

    def _take(self, file: Path, made: Path) -> str:
        with self._hangs.at_work():
            size = _made_size(made)
        with self._hangs.at_work(size):
            return _take(file, made)

    def _probe(self, file: Path) -> None:
        with self._hangs.at_work():
            # The state folder itself is not made again: that is for its owner to decide.
            self.folder.mkdir(mode=0o700, exist_ok=True)
            _write(file, b"x")
            _remove(file)

    def _retire(self, file: Path) -> None:
        if file in self._spares:
            return
        if file.name in self._earlier or len(self._spares) >= MAX_SPARES or _size(file) > MAX_SPARE_BYTES:
            _remove(file)
        else:
            self._spares.append(file)

    def _remove_spares(self) -> None:
        while self._spares:
            _remove(self._spares.pop())

    def _set_aside(self, folder: Path) -> None:
        if self.folder.is_dir():
            self._stranded = self._move([file.name for file in self._results()], folder)

    def _try_to_move(self, names: Collection[str], folder: Path) -> None:
        try:
            self._move(names, folder)
        except OSError as error:
            logger.bind(event="jobs.spool", folder=str(folder), error=str(error)).error(
                "Results of a damaged journal could not be set aside"
            )

    def _move(self, names: Collection[str], folder: Path) -> set[str]:
        """Move files to another folder; the names of those that could not be."""
        there = [name for name in names if (self.folder / name).exists()]
        if not there:
            return set()
        make_private_folder(folder)
        stranded = set()
        for name in there:
            try:
                _move_file(self.folder / name, folder / name)
            except OSError as error:
                # A disk that spoils a journal fails on files, too: what can be moved is.
                logger.bind(event="jobs.spool", file=name, error=str(error)).error("A result could not be set aside")
                stranded.add(name)
        sync_folder(folder)
        sync_folder(self.folder)
        return stranded

    def _sweep(self, wanted: Collection[str]) -> None:
        make_own_folder(self.folder)
        for left in self._results():
            if left.name not in wanted and left.name not in self._stranded:
                _remove(left)

    def _results(self) -> Iterable[Path]:
        """The files of results, finished or not; whatever else lies beside them is somebody else's, and stays."""
        return [file for file in self.folder.iterdir() if _is_ours(file)]


def _is_ours(file: Path) -> bool:
    return is_result_name(file.name.removesuffix(_PART))


def _write(file: Path, data: bytes) -> None:
    if file.exists():
        try:
            _fill(file, data)
        except BaseException:
            _remove(file)
            raise
        return
    part = file.with_name(file.name + _PART)
    try:
        _fill(part, data)
        part.replace(file)
    except BaseException:
        _remove(part)
        raise
    sync_folder(file.parent)


def _fill(file: Path, data: bytes) -> None:
    """Write over what is there, and have it on the disk; what is there beyond the data stays."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), PRIVATE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def _take(file: Path, made: Path) -> str:
    part = file.with_name(file.name + _PART)
    try:
        try:
            made.replace(part)
        except FileNotFoundError:
            raise
        except OSError:
            # The folder of jobs may lie on another file system than the spool.
            shutil.copyfile(made, part)
        part.chmod(PRIVATE)
        with part.open("rb+") as opened:
            sync_file(opened.fileno())
            checksum = checksum_of(iter(partial(opened.read, _BLOCK), b""))
        part.replace(file)
    except BaseException:
        _give_back(part, made)
        raise
    sync_folder(file.parent)
    return checksum


def _move_file(file: Path, to: Path) -> None:
    try:
        file.replace(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The spool may be a link to another disk.
        _copy(file, to)
        file.unlink()


def _copy(file: Path, to: Path) -> None:
    try:
        shutil.copyfile(file, to)
        to.chmod(PRIVATE)
        with to.open("rb+") as opened:
            sync_file(opened.fileno())
    except BaseException:
        _remove(to)
        raise


def _give_back(part: Path, made: Path) -> None:
    """A file that could not be kept stays where its engine put it: its bytes may still be had."""
    try:
        if not made.exists() and part.exists():
            part.rename(made)
    except OSError as error:
        logger.bind(event="jobs.spool", file=str(part), error=str(error)).warning("A result could not be put back")
    _remove(part)


def _made_size(made: Path) -> int:
    try:
        return made.stat().st_size
    except FileNotFoundError:
        raise MadeFileGone(str(made)) from None


def _size(file: Path) -> int:
    """Bytes of a file; more than any has where there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return MAX_SPARE_BYTES + 1


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.bind(event="jobs.spool", file=str(file), error=str(error)).warning("A spooled file could not be removed")
