"""The loop, the journal's thread and the spool's meet: whatever comes first, what is owed is written, once and last."""

import asyncio
import errno
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from studio_worker.jobs import kept_journal, spool
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.journal_file import journal_path
from studio_worker.jobs.journal_history import History, forget_settled
from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.settlement import Done
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind

from .journal_rows import film_of, is_well, json_of, picture_of, rows, spoil


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

    async def test_is_waited_for_by_a_large_file_and_not_by_the_rows_of_other_jobs(self, life, entry, state, slow_disk):
        async with life(retry_secs=0.01) as journal:
            slow_disk.begin()
            slow_disk.error = OSError(errno.ENOSPC, "No space left on device")
            slow_disk.set()
            held = await journal.keep(entry(), picture_of())
            await held.safe
            journal.accept(entry("job-2", kind=TaskKind.AUDIO_STT))
            await journal.keep(entry("job-2", kind=TaskKind.AUDIO_STT), json_of())
            await until_rows(state, [("job-1", Stage.KEPT), ("job-2", Stage.KEPT)])
            assert journal.trouble.code == "disk_full"


class TestARowOfAnEarlierRun:
    """The first write of its end fails; the job was taken again before anybody knows."""

    async def test_is_not_written_over_that_of_a_run_whose_first_write_worked(self, life, entry, state):
        async with life(retry_secs=0.01, busy_secs=0.01) as journal:
            journal.accept(entry())
            await journal.committed(entry())
            with locked(state) as release:
                journal.drop(entry(), "the engine broke")
                journal._batches.flush()
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
                journal._batches.flush()
                journal.accept(entry())
                await journal.committed(entry())
                release()
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.RUNNING)]

    async def test_is_not_written_over_that_of_a_run_that_ended_while_its_own_failed(self, life, entry, state):
        async with life(retry_secs=60, busy_secs=0.01) as journal:
            with locked(state) as release:
                journal.accept(entry())
                journal.drop(entry(), "the engine broke")
                await journal._batches.commit_all()
                failing = journal._batches.commit_all()
                journal.accept(entry())
                journal.drop(entry(), "the studio cancelled it")
                assert not await failing
                release()
            await journal._batches.commit_all()
            assert rows(state, "stage, note") == [(Stage.FAILED, "the studio cancelled it")]

    async def test_is_not_written_over_that_of_a_run_whose_end_failed_too(self, life, entry, state):
        async with life(retry_secs=60, busy_secs=0.01) as journal:
            with locked(state) as release:
                journal.accept(entry())
                journal.drop(entry(), "the engine broke")
                first = journal._batches.commit_all()
                journal.accept(entry(accepted_at=2_000.0))
                journal.drop(entry(accepted_at=2_000.0), "the studio cancelled it")
                second = journal._batches.commit_all()
                assert not await first
                assert not await second
                release()
            await journal._batches.commit_all()
            assert rows(state, "stage, note") == [(Stage.FAILED, "the studio cancelled it")]


class TestAFileInTheSpool:
    async def test_is_given_to_one_result_though_the_end_of_the_one_before_is_written_twice(self, life, entry, state):
        async with life(retry_secs=60, busy_secs=0.01) as journal:
            first = await journal.keep(entry("job-1"), picture_of())
            await first.safe
            with locked(state) as release:
                journal.mark(first, Stage.WAITING)
                journal._batches.flush()
                journal._database._work.put(release)
                journal.close(first, Done())
                await journal._batches.commit_all()
            await journal._spool.probe()
            second = await journal.keep(entry("job-2"), picture_of(b"another"))
            assert second.file == first.file
            await journal._batches.commit_all()
            await journal._spool.probe()
            third = await journal.keep(entry("job-3"), picture_of(b"a third"))
            await asyncio.gather(second.safe, third.safe)
            assert second.file.read_bytes() == b"another"
            assert third.file.read_bytes() == b"a third"

    async def test_that_is_written_while_its_result_is_settled_is_given_to_one_result(self, life, entry, slow_disk):
        async with life(retry_secs=0.01) as journal:
            slow_disk.begin()
            slow_disk.error = OSError(errno.ENOSPC, "No space left on device")
            slow_disk.set()
            held = await journal.keep(entry("job-1"), picture_of())
            await held.safe
            slow_disk.clear()
            slow_disk.error = None
            await slow_disk.reached()
            journal.close(held, Done())
            await journal._batches.commit_all()
            slow_disk.set()
            async with asyncio.timeout(10):
                while not journal._spool._spares:
                    await asyncio.sleep(0)
            second = await journal.keep(entry("job-2"), picture_of(b"another"))
            await second.safe
            await is_well(journal)
            third = await journal.keep(entry("job-3"), picture_of(b"a third"))
            await third.safe
            assert second.file.read_bytes() == b"another"
            assert len({second.file, third.file}) == 2

    async def test_stays_until_the_end_of_its_result_is_written(self, life, entry, state):
        async with life(retry_secs=60, busy_secs=0.01) as journal:
            kept = await journal.keep(entry(), picture_of())
            await kept.safe
            with locked(state) as release:
                journal.close(kept, Done())
                await journal._batches.commit_all()
                await journal._spool.probe()
                assert kept.file.read_bytes() == b"abc"
                assert journal._spool.new_file() != kept.file
                release()

    async def test_is_not_made_for_a_result_that_was_settled_while_it_lay_in_memory(
        self, life, entry, state, slow_disk
    ):
        async with life(retry_secs=0.01) as journal:
            slow_disk.begin()
            slow_disk.error = OSError(errno.ENOSPC, "No space left on device")
            slow_disk.set()
            held = await journal.keep(entry(), picture_of())
            await held.safe
            row = journal._live["job-1"]
            assert journal._watch.holds(row)
            journal.close(held, Done())
            assert not journal._watch.holds(row)
            slow_disk.error = None
            await is_well(journal)
            await journal._spool.probe()
            assert list((state / "spool").iterdir()) == []


class TestAStop:
    @pytest.fixture
    def made(self, tmp_path):
        found = tmp_path / "made.mp4"
        found.write_bytes(b"a film")
        return found

    async def test_while_a_film_moves_into_the_spool_is_no_death_of_the_process(
        self, life, entry, state, made, slow_disk
    ):
        async with life() as journal:
            journal.accept(entry())
            await journal.committed(entry())
            slow_disk.begin()
            keeping = asyncio.create_task(journal.keep(entry(), film_of(made)))
            await slow_disk.reached()
            keeping.cancel()
            await asyncio.wait([keeping])
            slow_disk.set()
        assert rows(state, "job_id, stage, file, checksum") == [("job-1", Stage.INTERRUPTED, "", "")]
        async with life() as journal:
            assert journal.recalled == []
        assert rows(state, "stage, deaths") == [(Stage.INTERRUPTED, 0)]

    async def test_tries_once_more_what_a_batch_just_before_it_could_not_write(self, life, entry, state):
        async with life(busy_secs=0.01) as journal:
            journal.accept(entry())
            await journal.committed(entry())
            with locked(state) as release:
                journal.drop(entry(), "the engine broke")
                journal._batches.flush()
                journal._database._work.put(release)
                await journal.aclose()
        assert rows(state) == [("job-1", Stage.FAILED)]


async def test_a_row_that_is_written_while_its_film_moves_says_nothing_of_it(life, entry, state, tmp_path, slow_disk):
    made = tmp_path / "made.mp4"
    made.write_bytes(b"a film")
    async with life() as journal:
        journal.accept(entry())
        await journal.committed(entry())
        slow_disk.begin()
        keeping = asyncio.create_task(journal.keep(entry(), film_of(made)))
        await slow_disk.reached()
        await journal.committed(entry())
        assert rows(state, "stage, file, checksum") == [(Stage.RUNNING, "", "")]
        slow_disk.set()
        kept = await keeping
        assert rows(state, "stage, file, checksum") == [(Stage.KEPT, kept.file.name, checksum_of([b"a film"]))]


class TestTheSafetyOfAResult:
    """Two threads write, the file and the row, and neither counts without the other."""

    async def test_comes_with_its_row_however_long_its_file_has_been_there(self, life, entry, state):
        async with life(busy_secs=60) as journal:
            journal.accept(entry())
            await journal.committed(entry())
            with locked(state) as release:
                kept = await journal.keep(entry(), picture_of())
                async with asyncio.timeout(10):
                    while not kept.file.exists():
                        await asyncio.sleep(0.005)
                await journal._spool.probe()
                assert not kept.safe.done()
                release()
                await asyncio.wait_for(kept.safe, 10)
            assert rows(state) == [("job-1", Stage.KEPT)]

    async def test_is_not_waited_for_in_a_trouble_and_its_row_is_written_after_it(self, life, entry, state):
        async with life(retry_secs=0.01, busy_secs=0.01) as journal:
            with locked(state) as release:
                kept = await journal.keep(entry(), picture_of())
                await asyncio.wait_for(kept.safe, 10)
                assert journal.trouble.code == "journal"
                release()
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.KEPT)]

    async def test_never_comes_where_its_file_fails_in_whatever_way(self, life, entry, monkeypatch):
        def broken(descriptor):
            raise MemoryError

        async with life(retry_secs=60) as journal:
            monkeypatch.setattr(spool, "sync_file", broken)
            kept = await journal.keep(entry(), picture_of())
            with pytest.raises(OSError, match="MemoryError"):
                await asyncio.wait_for(kept.safe, 10)
            assert journal.trouble.code == "state_folder"


async def test_a_disk_that_gives_no_answer_at_a_start_costs_no_kept_result(life, entry, state, monkeypatch):
    async with life() as journal:
        await journal.keep(entry(), picture_of())
    stat = Path.stat

    def refuse(path, **more):
        if path.parent.name == "spool":
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        async with life() as journal:
            assert [found.kept.job_id for found in journal.recalled] == ["job-1"]
    async with life() as journal:
        assert [found.kept.job_id for found in journal.recalled] == ["job-1"]


async def test_of_two_results_that_are_kept_for_one_job_the_later_is_given_and_the_other_goes(life, entry, state):
    async with life() as journal:
        await journal.keep(entry(), picture_of())
        await journal.committed(entry())
        journal._live.clear()
        await journal.keep(entry(fingerprint=Fingerprint(text="another")), picture_of(b"another"))
    async with life() as journal:
        assert [found.kept.entry.fingerprint.text for found in journal.recalled] == ["another"]
    assert sorted(rows(state, "fingerprint, stage")) == [("another", Stage.KEPT), ("f", Stage.UNREADABLE)]
    async with life():
        assert len(list((state / "spool").iterdir())) == 1


async def test_a_disk_that_hangs_at_the_end_holds_up_no_stop(life, entry, monkeypatch):
    monkeypatch.setattr(kept_journal, "PATIENCE_SECS", 0.1)
    answers = threading.Event()
    try:
        async with asyncio.timeout(10):
            async with life() as journal:
                journal._database._work.put(lambda: answers.wait(30))
                journal._spool._thread.ask(lambda: answers.wait(30))
                journal.accept(entry())
    finally:
        answers.set()


async def test_a_film_without_room_that_memory_is_too_small_for_is_a_trouble(life, entry, tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.write_bytes(bytes(1_000))
    async with life(retry_secs=60) as journal:
        monkeypatch.setattr(journal._watch, "max_bytes", 10)
        monkeypatch.setattr(journal._spool, "take", full)
        with pytest.raises(OSError, match="No space left"):
            await journal.keep(entry(), film_of(made))
        assert journal.trouble.code == "disk_full"


async def full(file, made):
    raise OSError(errno.ENOSPC, "No space left on device")
