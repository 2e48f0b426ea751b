"""The loop, the journal's thread and the spool's meet: whatever comes first, what is owed is written, once and last."""

import asyncio
import sqlite3
from contextlib import contextmanager

from studio_worker.jobs.journal_file import journal_path
from studio_worker.jobs.journal_history import History, forget_settled
from studio_worker.jobs.journal_row import Stage

from .journal_rows import is_well, picture_of, rows, spoil


@contextmanager
def locked(state):
    """Another process holds the journal locked, until the test or the journal's thread calls what this gives."""
    other = sqlite3.connect(journal_path(state), isolation_level=None, check_same_thread=False)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield lambda: other.execute("ROLLBACK")
    finally:
        other.close()


async def until_rows(state, wanted):
    async with asyncio.timeout(10):
        while rows(state) != wanted:
            await asyncio.sleep(0.005)


class TestADamagedFile:
    async def test_that_is_found_by_what_only_reads_is_replaced_by_one_that_knows_what_is_owed(
        self, life, entry, state
    ):
        async with life(retry_secs=0.01) as journal:
            kept = await journal.keep(entry(), picture_of())
            await kept.safe
            journal.accept(entry("job-2"))
            await journal.committed(entry("job-2"))
            await spoil(journal, state)
            await journal._database.run(lambda on: forget_settled(on, 0.0, History()))
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.KEPT), ("job-2", Stage.RUNNING)]
            assert "the journal was damaged" in journal.note
        async with life() as journal:
            assert [each.kept.job_id for each in journal.recalled] == ["job-1"]
            assert journal.recalled[0].kept.file == kept.file


class TestTheEndOfATrouble:
    async def test_writes_what_has_changed_since_the_commit_that_ended_it(self, life, entry, state, monkeypatch):
        async with life(retry_secs=0.01, busy_secs=0.01) as journal:
            with locked(state) as release:
                journal.accept(entry())
                await journal.committed(entry())
                release()
            real = journal._database.write

            def write(written, *, is_full, landed):
                real(written, is_full=is_full, landed=landed)
                monkeypatch.undo()
                # Behind this commit's rows, and before the loop hears that they are written.
                journal._loop.call_soon(journal.accept, entry("job-2"))

            monkeypatch.setattr(journal._database, "write", write)
            await is_well(journal)
            await until_rows(state, [("job-1", Stage.RUNNING), ("job-2", Stage.ACCEPTED)])


class TestARowOfAnEarlierRun:
    """The first write of its end fails; the job was taken again before anybody knows."""

    async def test_is_not_written_over_that_of_a_run_whose_first_write_worked(self, life, entry, state):
        async with life(retry_secs=0.01, busy_secs=0.01) as journal:
            journal.accept(entry())
            await journal.committed(entry())
            with locked(state) as release:
                journal.drop(entry(), "the engine broke")
                journal._flush()
                journal._database._work.put(release)
                journal.accept(entry())
                await journal.committed(entry())
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.RUNNING)]

    async def test_is_not_written_over_that_of_a_run_whose_first_write_failed_too(self, life, entry, state):
        async with life(retry_secs=0.5, busy_secs=0.01) as journal:
            journal.accept(entry())
            await journal.committed(entry())
            with locked(state) as release:
                journal.drop(entry(), "the engine broke")
                journal._flush()
                journal.accept(entry())
                await journal.committed(entry())
                release()
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.RUNNING)]
