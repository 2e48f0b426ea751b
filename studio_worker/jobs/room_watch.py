"""While nothing can be written: what has to stay in memory, and the tries that find out when there is room again."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from studio_worker.jobs.journal import Trouble
from studio_worker.jobs.journal_row import Row
from studio_worker.jobs.journal_trouble import as_trouble
from studio_worker.jobs.results import Memory
from studio_worker.jobs.side_task import SideTask
from studio_worker.jobs.spool import Spool
from studio_worker.log import logger
from studio_worker.lookout import Lookout

MAX_HELD_BYTES = 256 * 1024 * 1024
"""The largest result that memory may stand in for; a larger one fails, and another worker may run it."""

LACK_SECS = 600.0
"""How long a result that memory is too small for is made room for: a disk that never has as much may do for others."""

SPARE_BYTES = 64 * 1024
"""Room beyond the file that could not be written, before another try is made: its row needs some too."""


class RoomWatch:
    """Knows the trouble, and ends it when everything is written. A plain object of the loop.

    Attributes:
        trouble: why nothing can be written; None while all is well.
        max_bytes: the largest result that may stay in memory.

    Args:
        folder: whose disk counts.
        spool: where files go.
        commit_all: writes all rows that have changed; says whether it worked.
        on_change: called when `trouble` has come or gone.
        on_lost: told why the tries have ended without an outcome.
        retry_secs: time between two tries.
    """

    max_bytes = MAX_HELD_BYTES

    def __init__(
        self,
        folder: Path,
        spool: Spool,
        commit_all: Callable[[], asyncio.Future[bool]],
        on_change: Callable[[], None],
        on_lost: Callable[[BaseException], None],
        *,
        retry_secs: float,
    ) -> None:
        self.trouble: Trouble | None = None
        self._folder = folder
        self._spool = spool
        self._commit_all = commit_all
        self._on_change = on_change
        self._retry_secs = retry_secs
        self._lookout = Lookout("journal-room")
        self._held: dict[Row, tuple[Path, Memory]] = {}
        self._trying = SideTask("journal room", on_lost)
        self._is_spool_in_doubt = False
        self._has_failed = False
        self._lacking_bytes, self._lacking_until = 0, 0.0

    def hold(self, row: Row, file: Path, memory: Memory, error: OSError) -> None:
        """Leave a result in memory until its file can be written."""
        self._held[row] = (file, memory)
        self.failed(as_trouble(error), error)

    def holds(self, row: Row) -> bool:
        """Whether the result lies in memory alone."""
        return row in self._held

    def release(self, row: Row) -> None:
        """The result is settled: it needs no file any more."""
        self._held.pop(row, None)

    def failed(self, trouble: Trouble, error: Exception) -> None:
        """Something could not be written."""
        is_news, self.trouble, self._has_failed = self.trouble is None, trouble, True
        if not self._trying.is_running:
            self._trying.start(self._until_written())
        if is_news:
            logger.bind(event="journal.trouble", code=trouble.code, error=str(error)).error(
                f"Nothing can be written, and no jobs are taken: {trouble.detail}"
            )
            self._on_change()

    def lost(self, error: OSError) -> None:
        """A result's file could not be written, and no room will help: none is asked for until another one can be."""
        self._is_spool_in_doubt = True
        self.failed(as_trouble(error), error)

    def lacked(self, size: int, error: OSError) -> None:
        """A result of `size` bytes was lost for want of room: there has to be as much, or some time has to pass."""
        self._lacking_bytes, self._lacking_until = size, time.monotonic() + LACK_SECS
        self.failed(as_trouble(error), error)

    def tell_what_is_lost(self) -> None:
        """The worker ends: what lies in memory alone is gone, and its job runs anew when it is offered again."""
        if self._held:
            logger.bind(event="journal.lost", results=len(self._held)).error(
                "Results that no room was found for are lost with this process; their jobs run again when offered"
            )

    async def aclose(self) -> None:
        """Stop trying."""
        await self._trying.aclose()

    async def _until_written(self) -> None:
        while self.trouble is not None:
            await asyncio.sleep(self._retry_secs)
            # What fails while this round goes on may be nothing that it has written: that needs one more.
            self._has_failed = False
            has_room = await self._look_for_room()
            # First the rows: they need next to no room, and must not wait until a film has some.
            are_rows_written = await self._commit_all()
            if has_room and await self._are_files_written() and are_rows_written and not self._has_failed:
                self.trouble = None
                logger.bind(event="journal.trouble_over").info("Everything is written; jobs are taken again")
                self._on_change()

    async def _look_for_room(self) -> bool:
        try:
            return await self._lookout.look(self._has_room)
        except TimeoutError:
            return False

    def _has_room(self) -> bool:
        wanted = max((memory.size for _, memory in self._held.values()), default=0) + SPARE_BYTES
        if time.monotonic() < self._lacking_until:
            wanted = max(wanted, self._lacking_bytes + SPARE_BYTES)
        try:
            return shutil.disk_usage(self._folder).free >= wanted
        except OSError:
            return False

    async def _are_files_written(self) -> bool:
        if self._is_spool_in_doubt:
            try:
                await self._spool.probe()
            except OSError:
                return False
            self._is_spool_in_doubt = False
        for row, (file, memory) in list(self._held.items()):
            if row not in self._held or memory.data is None:
                continue
            try:
                await self._spool.write(file, memory.data)
            except OSError:
                return False
            # Where the result was settled meanwhile, the file goes with its row.
            if self._held.pop(row, None) is not None:
                memory.let_go(row.checksum)
        return True
