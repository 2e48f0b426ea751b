"""The journal of a worker at a studio: rows in SQLite, results in the spool, all of it there after a crash.

The rows of this moment lie in memory; what has changed is written a few milliseconds later in one transaction, so that
a job that is over by then costs one row. Only two things are waited for: the row of a job before its engine's process
starts, and row and file of a finished binary result before the end of its upload, without which no studio has it: a
disk takes as long for a picture as its way to the studio does, so that both go on side by side.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from studio_worker.clock import Clock, SystemClock
from studio_worker.errors import ResultRejected
from studio_worker.jobs.hang_watch import PATIENCE_SECS, HangWatch
from studio_worker.jobs.journal import Recalled, Trouble
from studio_worker.jobs.journal_db import JournalDatabase
from studio_worker.jobs.journal_file import BUSY_SECS, journal_path
from studio_worker.jobs.journal_history import History, files_wanted
from studio_worker.jobs.journal_row import Row, Stage
from studio_worker.jobs.journal_trouble import as_trouble, is_lack_of_room
from studio_worker.jobs.poison import Poison
from studio_worker.jobs.replay import recall_rows, settle_unreadable
from studio_worker.jobs.results import Artifact, Entry, Kept, Memory
from studio_worker.jobs.room_watch import RoomWatch
from studio_worker.jobs.row_batches import RowBatches
from studio_worker.jobs.settlement import Done, Gone, Settlement
from studio_worker.jobs.spool import MadeFileGone, Spool
from studio_worker.jobs.unknown_results import UnknownResults
from studio_worker.jobs.upkeep import Upkeep
from studio_worker.log import logger
from studio_worker.text import escape
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.strict_json import dumps_lossy

AT_HAND_SECS = 0.25
"""How long a result's bytes stay in memory beside their file, so that its first upload need not read them."""

MAX_NOTE = 500


class KeptJournal:
    """See the head of this module.

    Args:
        folder: the state folder; journal and spool lie in it.
        origin: the studio's; rows of others are left alone.
        clock: time.
        history: how much is remembered.
        on_trouble: called when `trouble` has changed; a disk that hangs is found by those who look.
        disk: what the latest look at the disk found; never blocks.
        hangs: finds out whether the disk still answers.
        busy_secs: how long to wait for another process's lock.
        retry_secs: how long to wait, while nothing can be written, before the next try.
    """

    def __init__(
        self,
        folder: Path,
        origin: str,
        clock: Clock,
        *,
        history: History | None = None,
        on_trouble: Callable[[], None] = lambda: None,
        disk: Callable[[], Trouble | None] = lambda: None,
        hangs: HangWatch | None = None,
        busy_secs: float = BUSY_SECS,
        retry_secs: float = 1.0,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._disk = disk
        self._hangs = hangs or HangWatch(SystemClock().monotonic)
        self._spool = Spool(folder / "spool", self._hangs)
        self._live: dict[str, Row] = {}
        self._batches = RowBatches(
            origin,
            self._live,
            retire=self._spool.remove,
            failed=self._could_not_write,
            begun_anew=self._begun_anew,
        )
        self._database = JournalDatabase(
            journal_path(folder), clock.now, self._hangs, self._batches.damaged, busy_secs=busy_secs
        )
        self._losses: asyncio.Queue[BaseException] = asyncio.Queue()
        self._unknown = UnknownResults(self._database, self._spool, self._live, self._losses.put_nowait)
        self._watch = RoomWatch(
            folder,
            self._spool,
            self._batches.commit_all,
            self._trouble_changed,
            self._losses.put_nowait,
            retry_secs=retry_secs,
        )
        self._retry_secs = retry_secs
        self._on_trouble = on_trouble
        self._upkeep = Upkeep(
            self._database,
            history or History(),
            clock,
            ours=lambda: (self._origin, self._worker_id),
            remove=self._spool.remove,
            on_lost=self._losses.put_nowait,
        )
        self._poison = Poison(clock)
        self._worker_id = ""
        self._is_open = False

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing can be written now, or could be in a moment."""
        return self._watch.trouble or self._hangs.trouble or self._disk()

    @property
    def note(self) -> str:
        """That a new journal was begun, and where what is left of the old one lies."""
        return self._database.note

    @property
    def owed(self) -> tuple[str, ...]:
        """Ids of the jobs that were accepted and are neither settled nor dropped."""
        return tuple(self._live)

    async def open(self) -> None:
        """Open file and spool, and settle what an earlier process had begun.

        Raises:
            ConfigError: the journal comes from a newer release, or cannot be used.
            AlreadyRunning: another process holds it locked.
            NoRoom: its disk is full.
            OSError: the spool cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        await self._database.open()
        self._is_open = True
        self._batches.open(self._database)
        await self._unless_full(self._upkeep.settle_the_past())
        wanted = await self._database.run_explained(files_wanted)
        if self._database.aside is not None:
            await self._spool.set_aside(self._database.results_aside)
        await self._spool.open(wanted)
        self._upkeep.start()

    async def live(self) -> None:
        """Raise the error of the upkeep, or of the tries to write what could not be written, should one of them end."""
        raise await self._losses.get()

    async def recall(self, worker_id: str) -> Sequence[Recalled]:
        """The results that are still owed under this worker id; the damaged ones are set aside, and logged.

        Waits for as long as another process, or the disk, is in the way: what is kept must not be passed over.

        Raises:
            ConfigError: the journal cannot be read.
        """
        self._worker_id = worker_id
        moment = (self._clock.monotonic(), self._now())
        found = await self._database.run_patiently(
            lambda on: recall_rows(on, self._origin, worker_id, self._spool.folder, moment),
            waits=lambda error: self._watch.failed(as_trouble(error), error),
            retry_secs=self._retry_secs,
        )
        if found.unreadable:
            settled = self._database.run(lambda on: settle_unreadable(on, moment[1], found.unreadable))
            await self._unless_full(settled)
        self._poison.load(found.deaths)
        for row, _ in found.results:
            self._live[row.entry.job_id] = row
        return [recalled for _, recalled in found.results]

    async def _unless_full(self, write: Awaitable[None]) -> None:
        """Write, or note the trouble: a full disk is no reason to deliver nothing, which is what makes room."""
        try:
            await write
        except sqlite3.Error as error:
            self._watch.failed(as_trouble(error), error)

    def refusal(self, job_id: str, mark: Fingerprint) -> str | None:
        """Why the job is left alone for a while."""
        return self._poison.refusal(job_id, mark)

    def accept(self, entry: Entry) -> None:
        """Note the job; its row follows in a few milliseconds."""
        row = Row(entry, self._worker_id, self._now(), deaths=self._poison.deaths(entry.job_id, entry.fingerprint))
        self._live[entry.job_id] = row
        self._batches.add(row)

    def start(self, entry: Entry) -> None:
        """Note that the job's engine runs."""
        row = self._row_of(entry)
        if row is not None and row.stage is Stage.ACCEPTED:
            row.stage = Stage.RUNNING
            self._batches.add(row)

    async def committed(self, entry: Entry) -> None:
        """Write down that the job's engine is about to start, and wait for it; a local job has no row."""
        row = self._row_of(entry)
        if row is not None:
            if row.stage is Stage.ACCEPTED:
                row.stage = Stage.RUNNING
            await self._batches.commit(row)

    async def keep(self, entry: Entry, artifact: Artifact) -> Kept:
        """Keep a result: a binary one in the spool, with its row committed; a JSON one's row follows."""
        row = self._row_of(entry)
        if row is None:
            row = self._live[entry.job_id] = Row(entry, self._worker_id, self._now())
        kept_at = self._clock.monotonic()
        if artifact.data is None:
            row.json = artifact.json_text
            self._note_kept(row, artifact)
            self._batches.add(row)
            return Kept(entry=entry, artifact=artifact, kept_at=kept_at)
        file = self._spool.new_file()
        memory: Memory | None
        safe: asyncio.Future[None] | None = None
        if isinstance(artifact.data, bytes):
            self._note_kept(row, artifact, file)
            memory, safe = self._keep_bytes(row, file, artifact.data)
        else:
            memory = await self._keep_file(row, file, artifact, artifact.data)
        artifact = replace(artifact, data=file)
        return Kept(entry=entry, artifact=artifact, kept_at=kept_at, memory=memory, checksum=row.checksum, safe=safe)

    def mark(self, kept: Kept, stage: Stage) -> None:
        """Note how far the delivery is, and for which attempt."""
        row = self._row_of(kept.entry)
        if row is not None:
            row.stage = stage
            row.entry = kept.entry
            self._batches.add(row)

    def drop(self, entry: Entry, why: str = "") -> None:
        """Settle a job that has no result."""
        row = self._row_of(entry)
        if row is not None:
            row.deaths = 0
            self._poison.forget(entry.job_id, entry.fingerprint)
            self._settle(row, Stage.FAILED if why else Stage.DROPPED, why)

    def close(self, kept: Kept, settlement: Settlement) -> None:
        """Settle a job that had one; its file goes after its row is written."""
        if kept.memory is not None:
            kept.memory.data = None
        row = self._row_of(kept.entry)
        if row is None:
            return
        match settlement:
            case Done() | Gone(is_done=True):
                self._settle(row, Stage.DELIVERED)
            case Gone(why=why):
                self._settle(row, Stage.DROPPED, why)
            case _:
                self._settle(row, Stage.FAILED, getattr(settlement, "error", ""))

    async def aclose(self) -> None:
        """Write what is still to be written, and close. Jobs that run end with no death of this process."""
        if not self._is_open:
            await self._database.aclose(PATIENCE_SECS)
            return
        self._is_open = False
        self._batches.is_held_back = True
        await self._upkeep.aclose()
        await self._unknown.aclose()
        await self._watch.aclose()
        for row in list(self._live.values()):
            if row.stage in (Stage.ACCEPTED, Stage.RUNNING):
                self._settle(row, Stage.INTERRUPTED)
        last = self._batches.commit_all()
        await asyncio.wait([last], timeout=PATIENCE_SECS)
        if last.done() and last.result() and not self._batches.is_empty:
            # What the batch before the last could not write is known only now.
            self._batches.flush()
        self._watch.tell_what_is_lost()
        # What has not come back by now may never do; the threads end with the process.
        left_secs = PATIENCE_SECS if last.done() else 0.0
        await self._database.aclose(left_secs)
        await self._spool.aclose(left_secs)

    def _note_kept(self, row: Row, artifact: Artifact, file: Path | None = None) -> None:
        """From here on the row says that there is a result: it may be written at any moment."""
        row.stage, row.kept_at, row.deaths, row.size = Stage.KEPT, self._now(), 0, artifact.size
        self._poison.forget(row.entry.job_id, row.entry.fingerprint)
        if file is not None:
            row.file, row.ext = file.name, artifact.ext
            row.meta = dumps_lossy(dict(artifact.meta)) if artifact.meta else ""

    def _keep_bytes(self, row: Row, file: Path, data: bytes) -> tuple[Memory, asyncio.Future[None]]:
        """Have the disk take file and row, side by side: neither counts without the other."""
        memory = Memory(data)
        row.data = data
        written = self._spool.write(file, data)
        safe: asyncio.Future[None] = self._loop.create_future()
        # In a moment, so that what is noted of the delivery's begin is written with it.
        self._loop.call_soon(self._sync, row, file, memory, written, safe)
        return memory, safe

    def _sync(
        self, row: Row, file: Path, memory: Memory, written: asyncio.Future[None], safe: asyncio.Future[None]
    ) -> None:
        both = asyncio.gather(written, self._batches.commit(row, is_full=True), return_exceptions=True)
        both.add_done_callback(lambda done: self._synced(row, file, memory, safe, done.result()[0]))

    def _synced(
        self, row: Row, file: Path, memory: Memory, safe: asyncio.Future[None], error: BaseException | bool | None
    ) -> None:
        """What has become of a result's file. A row that could not be written is a trouble, and no delay: it waits."""
        row.data = None
        if not isinstance(error, BaseException) or row.settled_at is not None:
            self._loop.call_later(AT_HAND_SECS, self._let_go, row, memory)
            safe.set_result(None)
            return
        refused = error if isinstance(error, OSError) else OSError(str(error) or type(error).__name__)
        if self._may_hold(row.size, refused):
            self._hold(row, file, memory, refused)
            safe.set_result(None)
            return
        safe.set_exception(refused)
        # An upload that is under way hears of it; where there is none, nobody misses it.
        safe.exception()

    async def _keep_file(self, row: Row, file: Path, artifact: Artifact, made: Path) -> Memory | None:
        """Move a result's file. Its row says nothing before that: it takes its time, and the worker may stop."""
        memory: Memory | None = None
        try:
            row.checksum = await self._spool.take(file, made)
        except MadeFileGone:
            self._spool.remove(file.name)
            raise ResultRejected("unreadable", "the result's file is gone: its engine removed it") from None
        except OSError as error:
            if not self._may_hold(artifact.size, error):
                self._spool.remove(file.name)
                raise
            memory = Memory(await asyncio.to_thread(made.read_bytes))
            row.data = memory.data
            self._note_kept(row, artifact, file)
            self._hold(row, file, memory, error)
        else:
            self._note_kept(row, artifact, file)
        await self._batches.commit(row, is_full=True)
        row.data = None
        return memory

    def _hold(self, row: Row, file: Path, memory: Memory, error: OSError) -> None:
        """Leave a result in memory until there is room for its file."""
        logger.bind(event="journal.memory", job_id=row.entry.job_id, error=str(error)).error(
            "A result is kept in memory: there is no room for its file"
        )
        self._watch.hold(row, file, memory, error)

    def _may_hold(self, size: int, error: OSError) -> bool:
        """Whether memory may stand in for a file until there is room; otherwise it is lost, and told."""
        if not is_lack_of_room(error):
            self._watch.lost(error)
        elif size > self._watch.max_bytes:
            self._watch.lacked(size, error)
        else:
            return True
        return False

    def _let_go(self, row: Row, memory: Memory) -> None:
        if not self._watch.holds(row):
            memory.let_go(row.checksum)

    def _row_of(self, entry: Entry) -> Row | None:
        """The open row of this very claim; another task may have come under its id."""
        row = self._live.get(entry.job_id)
        if row is None:
            return None
        ours, theirs = row.entry.fingerprint, entry.fingerprint
        return row if ours is theirs or ours == theirs else None

    def _settle(self, row: Row, stage: Stage, why: str = "") -> None:
        del self._live[row.entry.job_id]
        self._watch.release(row)
        row.settle(stage, self._now(), escape(why, limit=MAX_NOTE))
        self._batches.add(row)

    def _begun_anew(self) -> None:
        self._unknown.look()

    def _could_not_write(self, error: Exception) -> None:
        if self._is_open:
            self._watch.failed(as_trouble(error), error)

    def _trouble_changed(self) -> None:
        self._batches.is_held_back = self._watch.trouble is not None
        # What changed after the last commit of a trouble took its rows has no timer yet.
        self._batches.go_on()
        self._on_trouble()

    def _now(self) -> float:
        return self._clock.now().timestamp()
