"""The worker's memory of what it owes: a seam with one promise a method, and today's journal behind it."""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from studio_worker.clock import Clock
from studio_worker.jobs.results import Artifact, Entry, Kept, Memory
from studio_worker.jobs.settlement import Settlement
from studio_worker.log import logger
from studio_worker.private_file import make_private_folder

SPOOL_AFTER_SECS = 0.25

MAX_AT_HAND_BYTES = 2 * 1024 * 1024
"""Bytes up to which a kept result stays in memory until its file is written, so that its first upload has them."""


class Journal(Protocol):
    """Knows every accepted job until somebody else does. All methods are called on the event loop."""

    async def open(self) -> None:
        """Make ready; called once, before anything else."""
        ...

    def accept(self, entry: Entry) -> None:
        """Promise: when this returns, the row of the job is on its way. Nobody waits for it."""
        ...

    async def committed(self, entry: Entry) -> None:
        """Promise: when this returns, the row of the job is safe. Asked for before an engine starts."""
        ...

    async def keep(self, entry: Entry, artifact: Artifact) -> Kept:
        """Promise: when this returns, the result is kept as safely as this journal keeps anything.

        A journal that outlives the process has a binary result in its spool by then; a JSON result's row is on its way.

        Raises:
            OSError: the spool could not be written.
        """
        ...

    def drop(self, entry: Entry) -> None:
        """The job ended without a result: nothing is owed any more."""
        ...

    def close(self, kept: Kept, settlement: Settlement) -> None:
        """The result is settled: its row and its file go, and nobody waits for that."""
        ...

    async def aclose(self) -> None:
        """Finish what is on its way; called once, after everything else."""
        ...


class MemoryJournal:
    """Rows and small results in memory, larger results as files in a folder; none of it outlives the process.

    One thread does all file work, in the order in which it was asked for.

    Args:
        spool: a folder of this journal's own (0700); what an earlier process left in it is removed.
        clock: where `Kept.kept_at` comes from.
        spool_after_secs: how long small bytes may be kept in memory alone.
    """

    def __init__(self, spool: Path, clock: Clock, *, spool_after_secs: float = SPOOL_AFTER_SECS) -> None:
        self._spool = spool
        self._clock = clock
        self._open: dict[str, Entry] = {}
        self._is_closed = False
        self._spool_after_secs = spool_after_secs
        self._later: dict[Memory, asyncio.TimerHandle] = {}
        self._files = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    @property
    def owed(self) -> tuple[str, ...]:
        """Ids of the jobs that were accepted and are neither settled nor dropped."""
        return tuple(self._open)

    async def open(self) -> None:
        """Empty the spool."""
        await asyncio.get_running_loop().run_in_executor(self._files, self._sweep)

    def accept(self, entry: Entry) -> None:
        """Note the job."""
        self._open[entry.job_id] = entry

    async def committed(self, entry: Entry) -> None:
        """Nothing to wait for: memory is as safe as it gets."""

    async def keep(self, entry: Entry, artifact: Artifact) -> Kept:
        """Write a binary result into the spool; a JSON result stays where it is.

        Small bytes are at hand until their file is there, which waits: most of them are delivered without it.
        """
        memory: Memory | None = None
        if artifact.data is not None:
            file = self._spool / token_hex(16)
            if isinstance(artifact.data, bytes) and artifact.size <= MAX_AT_HAND_BYTES:
                memory = Memory(artifact.data)
                self._spool_later(entry.job_id, file, memory)
            else:
                await asyncio.get_running_loop().run_in_executor(self._files, _write, file, artifact.data)
            artifact = replace(artifact, data=file)
        return Kept(entry=entry, artifact=artifact, kept_at=self._clock.monotonic(), memory=memory)

    def _spool_later(self, job_id: str, file: Path, memory: Memory) -> None:
        loop = asyncio.get_running_loop()

        def begin() -> None:
            del self._later[memory]
            writing = loop.run_in_executor(self._files, _write, file, memory.data or b"")
            writing.add_done_callback(partial(_hand_on, job_id, memory))

        self._later[memory] = loop.call_later(self._spool_after_secs, begin)

    def drop(self, entry: Entry) -> None:
        """Forget the job."""
        self._open.pop(entry.job_id, None)

    def close(self, kept: Kept, settlement: Settlement) -> None:
        """Forget the job and remove its file."""
        self.drop(kept.entry)
        if kept.artifact.data is None:
            return
        if kept.memory is not None and (timer := self._later.pop(kept.memory, None)) is not None:
            timer.cancel()
        else:
            self._files.submit(_remove, kept.file)

    async def aclose(self) -> None:
        """Wait for the file work that is on its way, and empty the spool."""
        if not self._is_closed:
            self._is_closed = True
            for timer in self._later.values():
                timer.cancel()
            try:
                await asyncio.get_running_loop().run_in_executor(self._files, self._sweep)
            finally:
                self._files.shutdown(wait=False)

    def _sweep(self) -> None:
        make_private_folder(self._spool)
        for left in self._spool.iterdir():
            _remove(left)


def _hand_on(job_id: str, memory: Memory, writing: asyncio.Future[None]) -> None:
    """Let go of bytes that are in their file; those that could not be written stay in memory."""
    if writing.cancelled():
        return
    if (error := writing.exception()) is None:
        memory.data = None
    else:
        logger.bind(event="jobs.spool", job_id=job_id, error=str(error)).warning("A result could not be spooled")


def _write(target: Path, data: bytes | Path) -> None:
    if isinstance(data, bytes):
        target.write_bytes(data)
        return
    try:
        data.rename(target)
    except OSError:
        # The folder of jobs may lie on another file system than the spool.
        shutil.copyfile(data, target)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.bind(event="jobs.spool", file=str(file), error=str(error)).warning("A spooled file could not be removed")
