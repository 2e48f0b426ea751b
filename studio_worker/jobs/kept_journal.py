"""The journal of a worker at a studio: rows in SQLite, results in the spool, all of it there after a crash.

The rows of this moment lie in memory; what has changed is written a few milliseconds later in one transaction, so that
a job that is over by then costs one row. Only two things are waited for: the row of a job before its engine's process
starts, and row and file of a finished binary result before the end of its upload, without which no studio has it: a
disk takes as long for a picture as its way to the studio does, so that both go on side by side.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from studio_worker.clock import Clock, SystemClock
from studio_worker.jobs.hang_watch import PATIENCE_SECS, HangWatch
from studio_worker.jobs.journal import Recalled, Trouble
from studio_worker.jobs.journal_db import JournalDatabase, JournalReplaced, Written
from studio_worker.jobs.journal_file import BUSY_SECS, is_damage, journal_path
from studio_worker.jobs.journal_history import History, files_wanted
from studio_worker.jobs.journal_row import COLUMNS, Row, Stage
from studio_worker.jobs.journal_trouble import as_trouble, is_lack_of_room
from studio_worker.jobs.poison import Poison
from studio_worker.jobs.replay import recall_rows
from studio_worker.jobs.results import Artifact, Entry, Kept, Memory
from studio_worker.jobs.room_watch import RoomWatch
from studio_worker.jobs.settlement import Done, Gone, Settlement
from studio_worker.jobs.spool import Spool
from studio_worker.jobs.upkeep import Upkeep
from studio_worker.log import logger
from studio_worker.text import escape
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.strict_json import dumps_lossy

GROUP_SECS = 0.005
"""How long rows gather before they are written together; a JSON result's is committed within twice that."""

AT_HAND_SECS = 0.25
"""How long a result's bytes stay in memory beside their file, so that its first upload need not read them."""

MAX_NOTE = 500
_SETTLED_AT = COLUMNS.index("settled_at")


class KeptJournal:
    """See the head of this module.

    Args:
        folder: the state folder; journal and spool lie in it.
        origin: the studio's; rows of others are left alone.
        clock: time.
        history: how much is remembered.
        on_trouble: called when `trouble` has changed; a disk that hangs is found by those who look.
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
        hangs: HangWatch | None = None,
        busy_secs: float = BUSY_SECS,
        retry_secs: float = 1.0,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._hangs = hangs or HangWatch(SystemClock().monotonic)
        self._spool = Spool(folder / "spool", self._hangs)
        self._database = JournalDatabase(
            journal_path(folder), clock.now, self._hangs, self._damaged, busy_secs=busy_secs
        )
        self._watch = RoomWatch(folder, self._spool, self._commit_all, self._trouble_changed, retry_secs=retry_secs)
        self._on_trouble = on_trouble
        self._upkeep = Upkeep(self._database, history or History(), self._now)
        self._poison = Poison(clock)
        self._worker_id = ""
        self._live: dict[str, Row] = {}
        self._changed: dict[Row, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_open = False

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing can be written now."""
        return self._watch.trouble or self._hangs.trouble

    @property
    def note(self) -> str:
        """That a damaged journal was set aside, and where it lies."""
        aside = self._database.aside
        return "" if aside is None else f"the journal was damaged: it lies at {aside}, and a new one was begun"

    @property
    def owed(self) -> tuple[str, ...]:
        """Ids of the jobs that were accepted and are neither settled nor dropped."""
        return tuple(self._live)

    async def open(self) -> None:
        """Open file and spool, and settle what an earlier process had begun.

        Raises:
            ConfigError: the journal comes from a newer release, or cannot be used.
            AlreadyRunning: another process holds it locked.
            OSError: the spool cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        await self._database.open()
        self._is_open = True
        try:
            await self._upkeep.settle_the_past()
        except sqlite3.Error as error:
            # A full disk is no reason to deliver nothing: that is what makes room.
            self._watch.failed(as_trouble(error), error)
        await self._spool.open(await self._database.run(files_wanted))
        self._upkeep.start()

    async def recall(self, worker_id: str) -> Sequence[Recalled]:
        """The results that are still owed under this worker id; the damaged ones are set aside, and logged."""
        self._worker_id = worker_id
        moment = (self._clock.monotonic(), self._now())
        found = await self._database.run(
            lambda on: recall_rows(on, self._origin, worker_id, self._spool.folder, moment)
        )
        self._poison.load(found.deaths)
        for row, _ in found.results:
            self._live[row.entry.job_id] = row
        return [recalled for _, recalled in found.results]

    def refusal(self, job_id: str, mark: Fingerprint) -> str | None:
        """Why the job is left alone for a while."""
        return self._poison.refusal(job_id, mark)

    def accept(self, entry: Entry) -> None:
        """Note the job; its row follows in a few milliseconds."""
        row = Row(entry, self._worker_id, self._now(), deaths=self._poison.deaths(entry.job_id, entry.fingerprint))
        self._live[entry.job_id] = row
        self._write_soon(row)

    def start(self, entry: Entry) -> None:
        """Note that the job's engine runs."""
        row = self._row_of(entry)
        if row is not None and row.stage is Stage.ACCEPTED:
            row.stage = Stage.RUNNING
            self._write_soon(row)

    async def committed(self, entry: Entry) -> None:
        """Write down that the job's engine is about to start, and wait for it; a local job has no row."""
        row = self._row_of(entry)
        if row is not None:
            if row.stage is Stage.ACCEPTED:
                row.stage = Stage.RUNNING
            await self._commit(row)

    async def keep(self, entry: Entry, artifact: Artifact) -> Kept:
        """Keep a result: a binary one in the spool, with its row committed; a JSON one's row follows."""
        row = self._row_of(entry)
        if row is None:
            row = self._live[entry.job_id] = Row(entry, self._worker_id, self._now())
        kept_at = self._clock.monotonic()
        if artifact.data is None:
            row.json = artifact.json_text
            self._note_kept(row, artifact)
            self._write_soon(row)
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
        return Kept(entry=entry, artifact=artifact, kept_at=kept_at, memory=memory, sha256=row.sha256, safe=safe)

    def mark(self, kept: Kept, stage: Stage) -> None:
        """Note how far the delivery is, and for which attempt."""
        row = self._row_of(kept.entry)
        if row is not None:
            row.stage = stage
            row.entry = kept.entry
            self._write_soon(row)

    def drop(self, entry: Entry, why: str = "") -> None:
        """Settle a job that has no result."""
        row = self._row_of(entry)
        if row is not None:
            row.deaths = 0
            self._poison.forget(entry.job_id)
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
            await self._database.aclose()
            return
        self._is_open = False
        await self._upkeep.aclose()
        await self._watch.aclose()
        for row in list(self._live.values()):
            if row.stage in (Stage.ACCEPTED, Stage.RUNNING):
                self._settle(row, Stage.INTERRUPTED)
        last = self._commit_all()
        await asyncio.wait([last], timeout=PATIENCE_SECS)
        if last.done() and last.result() and self._changed:
            # What the batch before the last could not write is known only now.
            self._flush()
        await self._database.aclose()
        await self._spool.aclose()

    def _note_kept(self, row: Row, artifact: Artifact, file: Path | None = None) -> None:
        """From here on the row says that there is a result: it may be written at any moment."""
        row.stage, row.kept_at, row.deaths, row.size = Stage.KEPT, self._now(), 0, artifact.size
        self._poison.forget(row.entry.job_id)
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
        both = asyncio.gather(written, self._commit(row, is_full=True), return_exceptions=True)
        both.add_done_callback(lambda done: self._synced(row, file, memory, safe, done.result()[0]))

    def _synced(
        self, row: Row, file: Path, memory: Memory, safe: asyncio.Future[None], error: BaseException | bool | None
    ) -> None:
        """What has become of a result: its upload waits to hear that it is safe, or lies in memory."""
        row.data = None
        if isinstance(error, OSError) and row.settled_at is None:
            if not self._may_hold(row.size, error):
                safe.set_exception(error)
                # An upload that is under way hears of it; where there is none, nobody misses it.
                safe.exception()
                return
            self._hold(row, file, memory, error)
        else:
            self._loop.call_later(AT_HAND_SECS, self._let_go, row, memory)
        safe.set_result(None)

    async def _keep_file(self, row: Row, file: Path, artifact: Artifact, made: Path) -> Memory | None:
        """Move a result's file. Its row says nothing before that: it takes its time, and the worker may stop."""
        memory: Memory | None = None
        try:
            row.sha256 = await self._spool.take(file, made)
        except OSError as error:
            if not self._may_hold(artifact.size, error):
                raise
            memory = Memory(await asyncio.to_thread(made.read_bytes))
            row.data = memory.data
            self._note_kept(row, artifact, file)
            self._hold(row, file, memory, error)
        else:
            self._note_kept(row, artifact, file)
        await self._commit(row, is_full=True)
        row.data = None
        return memory

    def _hold(self, row: Row, file: Path, memory: Memory, error: OSError) -> None:
        """Leave a result in memory until there is room for its file."""
        logger.bind(event="journal.memory", job_id=row.entry.job_id, error=str(error)).error(
            "A result is kept in memory: there is no room for its file"
        )
        self._watch.hold(row, file, memory, error)

    def _may_hold(self, size: int, error: OSError) -> bool:
        if not is_lack_of_room(error):
            self._watch.lost(error)
            return False
        return size <= self._watch.max_bytes

    def _let_go(self, row: Row, memory: Memory) -> None:
        if not self._watch.holds(row):
            memory.let_go(row.sha256)

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
        self._write_soon(row)

    def _trouble_changed(self) -> None:
        # What changed after the last commit of a trouble took its rows has no timer yet.
        if self._changed:
            self._flush_soon()
        self._on_trouble()

    def _write_soon(self, row: Row) -> None:
        self._changed[row] = None
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._timer is None and self._is_open and self._watch.trouble is None:
            self._timer = self._loop.call_later(GROUP_SECS, self._flush)

    def _commit(self, row: Row, *, is_full: bool = False) -> asyncio.Future[bool]:
        """Write everything that has changed now; done, with whether it worked, when it is written."""
        self._changed[row] = None
        done: asyncio.Future[bool] = self._loop.create_future()
        self._flush(done, is_full=is_full)
        return done

    def _commit_all(self) -> asyncio.Future[bool]:
        done: asyncio.Future[bool] = self._loop.create_future()
        self._flush(done, is_full=True)
        return done

    def _flush(self, done: asyncio.Future[bool] | None = None, *, is_full: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, {}
        # Two runs of one job share a row of the file: what is open is the younger one, and is written behind the other.
        in_order = sorted(changed, key=lambda row: row.settled_at is None) if len(changed) > 1 else changed
        rows = [(row, row.written(self._origin)) for row in in_order]

        def landed(error: Exception | None) -> None:
            if error is None:
                self._remove_files(rows)
                if done is None:
                    return
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._landed, rows, done, error)

        self._database.write(rows, is_full=is_full, landed=landed)

    def _remove_files(self, rows: Written) -> None:
        """The files of settled rows, on the journal's thread: the rows are written.

        A row that an earlier batch could not write is written twice, and its file may be another result's by then. What
        the room watch still writes for a row is asked for before that is settled, and so comes first at the spool.
        """
        for row, values in rows:
            if row.file and values[_SETTLED_AT] is not None and not row.is_retired:
                row.is_retired = True
                self._spool.remove(row.file)

    def _damaged(self, error: sqlite3.Error) -> None:
        """On the journal's thread: what did not write rows has found the file damaged."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._landed, (), None, error)

    def _landed(self, rows: Written, done: asyncio.Future[bool] | None, error: Exception | None) -> None:
        if error is not None:
            self._changed = dict.fromkeys(row for row, _ in rows) | self._changed
            # A younger run's row may have been written meanwhile: an older one's must not stay over it.
            younger = (self._live.get(row.entry.job_id) for row, _ in rows)
            self._changed |= dict.fromkeys(row for row in younger if row is not None)
            if is_damage(error) or isinstance(error, JournalReplaced):
                # The new file knows nothing: everything that is owed is written into it.
                self._changed |= dict.fromkeys(self._live.values())
            if self._is_open and self._changed:
                self._watch.failed(as_trouble(error), error)
        if done is not None and not done.done():
            done.set_result(error is None)

    def _now(self) -> float:
        return self._clock.now().timestamp()
