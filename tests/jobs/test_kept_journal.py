"""What is kept is there after the process that kept it, and what is settled is not."""

import asyncio
import errno
import shutil
import sqlite3
import stat
import time
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from studio_worker.errors import ConfigError, ResultRejected
from studio_worker.jobs import journal_file, kept_journal, poison, spool, upkeep
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.hang_watch import HangWatch
from studio_worker.jobs.journal_db import JournalDatabase
from studio_worker.jobs.journal_file import VERSION, journal_path
from studio_worker.jobs.journal_history import History
from studio_worker.jobs.journal_row import COLUMNS, Stage, seal
from studio_worker.jobs.kept_journal import AT_HAND_SECS, KeptJournal
from studio_worker.jobs.results import Artifact
from studio_worker.jobs.settlement import Done, Gone, Refused
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import dumps

from .journal_rows import ANSWER, film_of, is_well, json_of, picture_of, rows, spoil

FIXTURES = Path(__file__).parent
ORIGIN = "https://studio.test"


@pytest.fixture
def killed(state, clock):
    """A journal whose process ends without a word: nothing is closed, only what was written counts."""
    journals = []

    async def make(worker_id="w-1", origin=ORIGIN, **more):
        journal = KeptJournal(state, origin, clock, **more)
        await journal.open()
        journals.append(journal)
        await journal.recall(worker_id)
        return journal

    async def kill(journal):
        journals.remove(journal)
        await asyncio.wait([journal._batches.commit_all()])
        journal._live.clear()
        await journal.aclose()

    make.kill = kill
    return make


def said(lines, event):
    return next(line for line in lines if line["event"] == event)


class TestAResult:
    async def test_of_bytes_is_there_in_the_next_life(self, life, entry):
        async with life() as journal:
            journal.accept(entry(attempt=3))
            await journal.keep(entry(attempt=3), picture_of())
        async with life() as journal:
            (recalled,) = journal.recalled
            assert recalled.is_unsent
            assert recalled.kept.file.read_bytes() == b"abc"
            assert recalled.kept.artifact.meta == {"seed": 7}
            assert (recalled.kept.artifact.ext, recalled.kept.artifact.size) == ("png", 3)
            assert recalled.kept.checksum == "352441c2"
            assert recalled.kept.entry.attempt == 3
            assert recalled.kept.entry.prompt == "a cup"
            assert recalled.kept.entry.fingerprint == Fingerprint(text="f")

    async def test_of_json_is_there_in_the_next_life_and_is_not_sent_unasked(self, life, entry):
        async with life() as journal:
            journal.accept(entry(kind=TaskKind.AUDIO_STT))
            await journal.keep(entry(kind=TaskKind.AUDIO_STT), json_of())
        async with life() as journal:
            (recalled,) = journal.recalled
            assert not recalled.is_unsent
            assert recalled.kept.artifact.json == ANSWER
            assert recalled.kept.artifact.json_text == dumps(ANSWER)

    async def test_in_a_file_is_moved_out_of_its_jobs_folder(self, life, entry, tmp_path):
        made = tmp_path / "made.png"
        made.write_bytes(b"abc")
        async with life() as journal:
            kept = await journal.keep(entry(), Artifact(kind=TaskKind.IMAGE, size=3, ext="png", data=made))
            assert not made.exists()
            assert kept.file.read_bytes() == b"abc"
            assert kept.at_hand is None
        async with life() as journal:
            assert journal.recalled[0].kept.checksum == kept.checksum

    async def test_has_a_row_and_a_file_when_it_is_kept(self, life, entry, state):
        async with life() as journal:
            journal.accept(entry())
            kept = await journal.keep(entry(), picture_of())
            await kept.safe
            assert rows(state) == [("job-1", Stage.KEPT)]
            assert kept.file.parent == state / "spool"
            assert "job" not in kept.file.name

    async def test_is_known_by_its_hash_once_its_file_alone_has_it(self, life, entry, monkeypatch):
        monkeypatch.setattr("studio_worker.jobs.kept_journal.AT_HAND_SECS", 0.001)
        async with life() as journal:
            kept = await journal.keep(entry(), picture_of())
            async with asyncio.timeout(5):
                while kept.at_hand is not None:
                    await asyncio.sleep(0.001)
            assert kept.file_checksum == checksum_of([b"abc"])

    async def test_is_at_hand_for_its_first_upload_and_then_no_more(self, life, entry, monkeypatch):
        assert AT_HAND_SECS < 5
        monkeypatch.setattr("studio_worker.jobs.kept_journal.AT_HAND_SECS", 0.001)
        async with life() as journal:
            kept = await journal.keep(entry(), picture_of())
            assert kept.at_hand == b"abc"
            async with asyncio.timeout(5):
                while kept.at_hand is not None:
                    await asyncio.sleep(0.001)
            assert kept.file.read_bytes() == b"abc"

    async def test_that_a_studio_called_not_ours_waits_in_the_next_life(self, life, entry):
        async with life() as journal:
            kept = await journal.keep(entry(), picture_of())
            journal.mark(kept, Stage.WAITING)
        async with life() as journal:
            assert [each.is_unsent for each in journal.recalled] == [False]

    async def test_is_sent_for_the_latest_claim_in_the_next_life(self, life, entry):
        async with life() as journal:
            kept = await journal.keep(entry(attempt=1), picture_of())
            journal.mark(replace(kept, entry=entry(attempt=2)), Stage.DELIVERING)
        async with life() as journal:
            assert [each.kept.entry.attempt for each in journal.recalled] == [2]

    async def test_that_was_being_delivered_is_sent_again(self, life, entry):
        async with life() as journal:
            kept = await journal.keep(entry(), picture_of())
            journal.mark(kept, Stage.DELIVERING)
        async with life() as journal:
            assert [each.is_unsent for each in journal.recalled] == [True]

    @pytest.mark.parametrize(
        ("settlement", "stage"),
        [
            (Done(), Stage.DELIVERED),
            (Gone(True, "done"), Stage.DELIVERED),
            (Gone(False, "cancelled"), Stage.DROPPED),
            (Refused("too wide"), Stage.FAILED),
        ],
    )
    async def test_that_is_settled_is_never_given_again(self, life, entry, state, settlement, stage):
        async with life() as journal:
            journal.accept(entry())
            kept = await journal.keep(entry(), picture_of())
            journal.close(kept, settlement)
            assert journal.owed == ()
        assert rows(state) == [("job-1", stage)]
        assert list((state / "spool").iterdir()) == []
        async with life() as journal:
            assert journal.recalled == []

    async def test_keeps_its_age_over_a_restart(self, life, entry, clock):
        async with life() as journal:
            await journal.keep(entry(), picture_of())
        clock.advance(500)
        async with life() as journal:
            assert clock.monotonic() - journal.recalled[0].kept.kept_at == pytest.approx(500)

    async def test_is_given_up_by_no_start_however_old_it_looks(self, life, entry, clock, state):
        async with life() as journal:
            await journal.keep(entry(), picture_of())
        clock.advance(10 * 365 * 24 * 3600)
        for worker_id in ("w-other", "w-1"):
            async with life(worker_id) as journal:
                pass
        assert [found.kept.job_id for found in journal.recalled] == ["job-1"]
        assert len(list((state / "spool").iterdir())) == 1

    @pytest.mark.parametrize("number", range(1, VERSION + 1))
    async def test_of_a_journal_of_a_released_schema_is_given_by_todays_code(self, life, state, number):
        (state / "spool").mkdir(parents=True)
        shutil.copy(FIXTURES / f"journal-schema-{number}.sqlite3", journal_path(state))
        for (name,) in rows(state, "file"):
            if name:
                (state / "spool" / name).write_bytes(b"abc")
        async with life() as journal:
            found = {each.kept.job_id: each for each in journal.recalled}
        assert sorted(found) == ["job-2", "job-3", "job-4"]
        assert found["job-2"].kept.artifact.json == {"text": "hello"}
        assert [found[name].is_unsent for name in ("job-2", "job-3", "job-4")] == [False, True, False]


class TestWhoseItIs:
    async def test_another_studio_is_given_nothing_and_takes_nothing_away(self, life, entry):
        async with life() as journal:
            await journal.keep(entry(), picture_of())
        async with life(origin="https://other.test") as journal:
            assert journal.recalled == []
        async with life() as journal:
            assert len(journal.recalled) == 1

    async def test_another_worker_id_is_given_nothing_and_takes_nothing_away(self, life, entry):
        async with life() as journal:
            await journal.keep(entry(), picture_of())
        async with life(worker_id="w-2") as journal:
            assert journal.recalled == []
        async with life() as journal:
            assert len(journal.recalled) == 1

    async def test_nobody_else_may_read_it(self, life, entry, state):
        async with life() as journal:
            kept = await journal.keep(entry(), picture_of())
            await kept.safe
            for path in state.rglob("*"):
                assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


class TestAnAcceptedJob:
    async def test_has_its_row_when_its_engine_may_start(self, life, entry, state):
        async with life() as journal:
            journal.accept(entry())
            await journal.committed(entry())
            assert rows(state) == [("job-1", Stage.RUNNING)]

    async def test_has_its_row_soon_although_nobody_waits(self, life, entry, state):
        async with life() as journal:
            journal.accept(entry())
            async with asyncio.timeout(5):
                while rows(state) != [("job-1", Stage.ACCEPTED)]:
                    await asyncio.sleep(0.001)

    async def test_that_ends_without_a_result_owes_nothing_and_says_why(self, life, entry, state):
        async with life() as journal:
            journal.accept(entry())
            journal.accept(entry("job-2"))
            journal.drop(entry(), "the engine broke")
            journal.drop(entry("job-2"))
            assert journal.owed == ()
        assert rows(state, "job_id, stage, note") == [
            ("job-1", Stage.FAILED, "the engine broke"),
            ("job-2", Stage.DROPPED, ""),
        ]

    async def test_of_another_task_is_not_ended_by_the_end_of_the_first(self, life, entry):
        async with life() as journal:
            journal.accept(entry(fingerprint=Fingerprint(text="new")))
            journal.drop(entry(fingerprint=Fingerprint(text="old")))
            assert journal.owed == ("job-1",)

    async def test_that_was_over_in_a_moment_is_one_row_without_prompt_and_result(self, life, entry, state):
        async with life() as journal:
            journal.accept(entry(kind=TaskKind.AUDIO_STT))
            kept = await journal.keep(entry(kind=TaskKind.AUDIO_STT), json_of())
            journal.close(kept, Done())
        assert rows(state, "stage, prompt, json, meta") == [(Stage.DELIVERED, "", "", "")]
        assert b"a cup" not in journal_path(state).read_bytes()

    async def test_of_a_process_that_was_killed_is_interrupted_and_not_run_by_itself(self, killed, life, entry, state):
        journal = await killed()
        journal.accept(entry())
        await killed.kill(journal)
        async with life() as journal:
            assert journal.recalled == []
            assert journal.owed == ()
        assert rows(state) == [("job-1", Stage.INTERRUPTED)]

    async def test_that_a_local_caller_asked_for_has_no_row(self, life, entry, state):
        async with life() as journal:
            await journal.committed(entry("local-1"))
            journal.start(entry("local-1"))
            journal.drop(entry("local-1"))
        assert rows(state) == []


class TestAJobThatKills:
    async def die(self, killed, entry, times):
        for _ in range(times):
            journal = await killed()
            journal.accept(entry())
            await journal.committed(entry())
            await killed.kill(journal)

    async def test_twice_is_tried_again(self, killed, life, entry):
        await self.die(killed, entry, 2)
        async with life() as journal:
            assert journal.refusal("job-1", Fingerprint(text="f")) is None

    async def test_three_times_is_refused_with_a_reason(self, killed, life, entry):
        await self.die(killed, entry, 3)
        async with life() as journal:
            reason = journal.refusal("job-1", Fingerprint(text="f"))
            assert "3 times" in reason
            assert "60 min" in reason

    async def test_three_times_before_its_engine_started_is_refused_too(self, killed, life, entry):
        """Its inputs and the files of its model are opened by then."""
        for _ in range(3):
            journal = await killed()
            journal.accept(entry())
            await killed.kill(journal)
        async with life() as journal:
            assert "3 times" in journal.refusal("job-1", Fingerprint(text="f"))

    async def test_is_refused_by_its_task_and_not_by_its_id(self, killed, life, entry):
        await self.die(killed, entry, 3)
        async with life() as journal:
            assert journal.refusal("job-1", Fingerprint(text="another")) is None
            assert journal.refusal("job-2", Fingerprint(text="f")) is None

    async def test_is_refused_although_another_task_under_its_id_died_before(self, killed, life, entry, clock):
        journal, other = await killed(), entry(fingerprint=Fingerprint(text="another"))
        journal.accept(other)
        await journal.committed(other)
        await killed.kill(journal)
        clock.advance(1)
        await self.die(killed, entry, 3)
        async with life() as journal:
            assert "3 times" in journal.refusal("job-1", Fingerprint(text="f"))

    async def test_is_tried_again_after_a_while(self, killed, life, entry, clock):
        await self.die(killed, entry, 3)
        async with life() as journal:
            clock.advance(poison.PAUSE_SECS + 1)
            assert journal.refusal("job-1", Fingerprint(text="f")) is None

    async def test_is_forgiven_when_it_comes_to_an_end_of_its_own(self, killed, life, entry):
        await self.die(killed, entry, 2)
        async with life() as journal:
            journal.accept(entry())
            journal.drop(entry(), "the engine broke")
        await self.die(killed, entry, 1)
        async with life() as journal:
            assert journal.refusal("job-1", Fingerprint(text="f")) is None

    async def test_is_not_one_whose_worker_was_stopped(self, life, entry):
        for _ in range(3):
            async with life() as journal:
                journal.accept(entry())
                await journal.committed(entry())
        async with life() as journal:
            assert journal.refusal("job-1", Fingerprint(text="f")) is None


class TestWhatIsDamaged:
    async def test_a_row_that_was_changed_is_set_aside_and_the_others_are_given(self, life, entry, state, caplines):
        async with life() as journal:
            await journal.keep(entry("job-1"), picture_of(b"one"))
            await journal.keep(entry("job-2"), picture_of(b"two"))
        with closing(sqlite3.connect(journal_path(state))) as connection:
            connection.execute("UPDATE jobs SET prompt = 'another' WHERE job_id = 'job-1'")
            connection.commit()
        async with life() as journal:
            assert [each.kept.job_id for each in journal.recalled] == ["job-2"]
        assert rows(state) == [("job-1", Stage.UNREADABLE), ("job-2", Stage.KEPT)]
        assert said(caplines, "journal.unreadable")["job_id"] == "job-1"

    async def test_a_row_of_bytes_that_are_no_text_is_set_aside(self, life, entry, state):
        async with life() as journal:
            await journal.keep(entry(kind=TaskKind.AUDIO_STT), json_of())
        with closing(sqlite3.connect(journal_path(state))) as connection:
            connection.execute("UPDATE jobs SET json = CAST(x'7bff7d' AS TEXT)")
            connection.commit()
        async with life() as journal:
            assert journal.recalled == []
        assert rows(state) == [("job-1", Stage.UNREADABLE)]

    @pytest.mark.parametrize("damage", ["gone", "shorter"])
    async def test_a_result_whose_file_is_not_there_is_not_given(self, life, entry, state, damage):
        async with life() as journal:
            kept = await journal.keep(entry(), picture_of())
        if damage == "gone":
            kept.file.unlink()
        else:
            kept.file.write_bytes(b"a")
        async with life() as journal:
            assert journal.recalled == []
        assert rows(state) == [("job-1", Stage.UNREADABLE)]

    async def test_a_journal_that_is_set_aside_takes_the_files_of_its_results_along(self, life, entry, state):
        async with life() as journal:
            await (await journal.keep(entry(), picture_of(b"a fox"))).safe
        journal_path(state).write_bytes(b"no database at all")
        async with life():
            assert list((state / "spool").iterdir()) == []
        (folder,) = state.glob("journal.sqlite3.damaged-*.results")
        assert [file.read_bytes() for file in folder.iterdir()] == [b"a fox"]

    async def test_a_journal_that_is_gone_at_the_start_takes_none_of_its_results_along(
        self, life, entry, state, caplines
    ):
        async with life() as journal:
            await (await journal.keep(entry(), picture_of(b"a fox"))).safe
        for file in state.glob("journal.sqlite3*"):
            file.unlink()
        async with life() as journal:
            assert journal.note
            assert journal.recalled == []
        (folder,) = state.glob("journal.sqlite3.damaged-*.results")
        assert [file.read_bytes() for file in folder.iterdir()] == [b"a fox"]
        assert said(caplines, "journal.damaged")["reason"] == "it is gone, and results lie beside it"

    async def test_one_that_breaks_while_the_worker_runs_takes_those_along_that_the_new_one_does_not_know(
        self, life, entry, state
    ):
        for origin in ("https://other.test", ORIGIN):
            async with life(origin=origin) as journal:
                await (await journal.keep(entry(), picture_of(origin.encode()))).safe
        async with life(retry_secs=0.01) as journal:
            await spoil(journal, state)
            journal.accept(entry("job-2"))
            await journal.committed(entry("job-2"))
            await is_well(journal)
        async with life() as journal:
            assert [each.kept.file.read_bytes() for each in journal.recalled] == [ORIGIN.encode()]
        (folder,) = state.glob("journal.sqlite3.damaged-*.results")
        assert [file.read_bytes() for file in folder.iterdir()] == [b"https://other.test"]

    async def test_one_that_is_removed_while_the_worker_runs_leaves_what_the_new_one_does_not_know(
        self, life, entry, state
    ):
        async with life(origin="https://other.test") as journal:
            await (await journal.keep(entry(), picture_of(b"theirs"))).safe
        async with life(retry_secs=0.01) as journal:
            for file in state.glob("journal.sqlite3*"):
                file.unlink()
            await (await journal.keep(entry(), picture_of(b"ours"))).safe
            await is_well(journal)
        async with life() as journal:
            assert [each.kept.file.read_bytes() for each in journal.recalled] == [b"ours"]
        (folder,) = state.glob("journal.sqlite3.damaged-*.results")
        assert [file.read_bytes() for file in folder.iterdir()] == [b"theirs"]

    async def test_one_that_is_put_in_its_place_while_the_worker_runs_keeps_what_it_knows(self, life, entry, state):
        async with life(origin="https://other.test") as journal:
            await (await journal.keep(entry(), picture_of(b"theirs"))).safe
        backup = state / "backup"
        shutil.copy(journal_path(state), backup)
        async with life(retry_secs=0.01) as journal:
            for file in state.glob("journal.sqlite3*"):
                file.unlink()
            backup.rename(journal_path(state))
            await (await journal.keep(entry(), picture_of(b"ours"))).safe
            await is_well(journal)
        async with life(origin="https://other.test") as journal:
            assert [each.kept.file.read_bytes() for each in journal.recalled] == [b"theirs"]
        assert list(state.glob("*.results")) == []

    async def test_one_whose_damage_the_first_look_at_its_rows_finds_takes_its_results_along(
        self, life, entry, state, monkeypatch
    ):
        async with life() as journal:
            await (await journal.keep(entry(), picture_of(b"a fox"))).safe
        real, looks = kept_journal.files_wanted, []

        def damaged(connection):
            looks.append(connection)
            if len(looks) == 1:
                raise journal_file._Damaged("database disk image is malformed")
            return real(connection)

        monkeypatch.setattr(kept_journal, "files_wanted", damaged)
        async with life() as journal:
            assert journal.recalled == []
        (folder,) = state.glob("journal.sqlite3.damaged-*.results")
        assert [file.read_bytes() for file in folder.iterdir()] == [b"a fox"]

    async def test_a_row_whose_file_lies_outside_the_spool_is_not_given(self, life, entry, state):
        async with life() as journal:
            await (await journal.keep(entry(), picture_of())).safe
        (state / "outside").write_bytes(b"abc")
        with closing(sqlite3.connect(journal_path(state))) as connection:
            values = list(connection.execute(f"SELECT {', '.join(COLUMNS)} FROM jobs").fetchone())
            values[COLUMNS.index("file")] = "../outside"
            values[-1] = seal(values)
            connection.execute("UPDATE jobs SET file = '../outside', seal = ?", (values[-1],))
            connection.commit()
        async with life() as journal:
            assert journal.recalled == []
        assert (state / "outside").read_bytes() == b"abc"
        assert rows(state) == [("job-1", Stage.UNREADABLE)]

    async def test_files_that_no_row_knows_are_removed_at_the_start(self, life, entry, state):
        (state / "spool").mkdir(parents=True)
        (state / "spool" / f"{'0f' * 16}.part").write_bytes(b"x")
        async with life() as journal:
            await (await journal.keep(entry(), picture_of())).safe
            assert len(list((state / "spool").iterdir())) == 1

    async def test_a_file_that_breaks_while_the_worker_runs_is_replaced_and_what_is_owed_is_in_the_new_one(
        self, life, entry, state
    ):
        async with life(retry_secs=0.01) as journal:
            kept = await journal.keep(entry(), picture_of())
            await spoil(journal, state)
            journal.accept(entry("job-2"))
            await journal.committed(entry("job-2"))
            async with asyncio.timeout(10):
                while journal.trouble is not None:
                    await asyncio.sleep(0.005)
            assert rows(state) == [("job-1", Stage.KEPT), ("job-2", Stage.RUNNING)]
            assert "the journal was damaged or gone: what was left of it lies at" in journal.note
        assert len([path for path in state.iterdir() if "damaged" in path.name]) >= 1
        async with life() as journal:
            assert journal.recalled[0].kept.file == kept.file


class TestAJournalThatIsLocked:
    async def test_is_waited_for_before_what_is_kept_is_recalled(self, life, entry, state, clock):
        async with life() as journal:
            await (await journal.keep(entry(), picture_of())).safe
        journal = KeptJournal(state, ORIGIN, clock, busy_secs=0.01, retry_secs=0.01)
        await journal.open()
        with closing(sqlite3.connect(journal_path(state), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            recalling = asyncio.create_task(journal.recall("w-1"))
            async with asyncio.timeout(10):
                while journal.trouble is None:
                    await asyncio.sleep(0.005)
            assert journal.trouble.code == "journal"
            other.execute("ROLLBACK")
        assert [each.kept.job_id for each in await recalling] == ["job-1"]
        await is_well(journal)
        await journal.aclose()

    async def test_that_a_disk_fails_to_read_is_read_again(self, life, entry, state, clock, monkeypatch):
        async with life() as journal:
            await (await journal.keep(entry(), picture_of())).safe
        real, looks = kept_journal.recall_rows, []

        def failing(*found):
            looks.append(found)
            if len(looks) == 1:
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
            return real(*found)

        monkeypatch.setattr(kept_journal, "recall_rows", failing)
        async with life(retry_secs=0.01) as journal:
            assert [each.kept.job_id for each in journal.recalled] == ["job-1"]
            await is_well(journal)

    async def test_that_no_time_cures_ends_the_recall_in_our_own_words(self, state, clock, monkeypatch):
        def broken(*_):
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(kept_journal, "recall_rows", broken)
        journal = KeptJournal(state, ORIGIN, clock)
        await journal.open()
        with pytest.raises(ConfigError, match="cannot be used: disk I/O error"):
            await journal.recall("w-1")
        assert journal.trouble is None
        await journal.aclose()

    async def test_at_the_start_is_told_in_our_own_words(self, state, clock, monkeypatch):
        def locked(connection):
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(kept_journal, "files_wanted", locked)
        journal = KeptJournal(state, ORIGIN, clock)
        with pytest.raises(ConfigError, match=r"the journal .* cannot be used: disk I/O error; make it writable"):
            await journal.open()
        await journal.aclose()


async def test_a_commit_is_answered_although_whoever_hears_of_the_trouble_breaks(life, entry, state):
    def broken():
        raise ZeroDivisionError

    async with life(busy_secs=0.01, retry_secs=60, on_trouble=broken) as journal:
        with closing(sqlite3.connect(journal_path(state), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            journal.accept(entry())
            async with asyncio.timeout(10):
                await journal.committed(entry())


class TestADiskThatIsFull:
    async def bound(self, journal, pages):
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def set_bound():
            connection = journal._database._connection
            at = connection.execute("PRAGMA page_count").fetchone()[0] if pages is None else pages
            connection.execute(f"PRAGMA max_page_count = {at}")
            loop.call_soon_threadsafe(done.set_result, None)

        journal._database._work.put(set_bound)
        await done

    async def test_is_a_trouble_until_there_is_room_and_then_everything_is_written(self, life, entry, state):
        told = []
        async with life(retry_secs=0.01, on_trouble=lambda: told.append(journal.trouble)) as journal:
            await self.bound(journal, None)
            big = entry(prompt="x" * 100_000)
            journal.accept(big)
            await journal.committed(big)
            assert journal.trouble.code == "disk_full"
            kept = await journal.keep(big, picture_of())
            assert kept.at_hand == b"abc"
            await self.bound(journal, 1_000_000)
            async with asyncio.timeout(10):
                while journal.trouble is not None:
                    await asyncio.sleep(0.005)
            assert rows(state) == [("job-1", Stage.KEPT)]
        assert [None if each is None else each.code for each in told] == ["disk_full", None]


@pytest.fixture
def practised(life, entry):
    """A journal that has a file to write over."""

    @asynccontextmanager
    async def live(**more):
        async with life(**more) as journal:
            kept = await journal.keep(entry("job-0"), picture_of())
            await kept.safe
            journal.close(kept, Done())
            await journal._batches.commit_all()
            await journal._spool.probe()
            yield journal

    return live


class TestADiskThatTakesItsTime:
    async def test_holds_nobody_up_and_says_when_it_has_file_and_row(self, practised, entry, state, slow_disk):
        async with practised() as journal:
            slow_disk.begin()
            kept = await journal.keep(entry(), picture_of(b"abcdef"))
            await journal._batches.commit_all()
            assert not kept.safe.done()
            slow_disk.set()
            await asyncio.wait_for(kept.safe, 10)
            assert kept.file.read_bytes() == b"abcdef"
            assert rows(state, "job_id, stage, checksum")[-1] == ("job-1", Stage.KEPT, checksum_of([b"abcdef"]))

    async def test_has_it_for_good_only_with_its_row(self, practised, entry, monkeypatch):
        asked, real = [], JournalDatabase.write

        def write(self, written, *, is_full, landed):
            asked.extend((row.entry.job_id, is_full) for row, _ in written)
            real(self, written, is_full=is_full, landed=landed)

        async with practised() as journal:
            monkeypatch.setattr(JournalDatabase, "write", write)
            kept = await journal.keep(entry(), picture_of())
            await asyncio.wait_for(kept.safe, 10)
            assert asked == [("job-1", True)]

    async def test_that_refuses_it_in_the_end_makes_it_lost_and_takes_no_more(self, practised, entry, slow_disk):
        async with practised(retry_secs=60) as journal:
            slow_disk.begin()
            kept = await journal.keep(entry(), picture_of())
            slow_disk.error = OSError(errno.EIO, "Input/output error")
            slow_disk.set()
            with pytest.raises(OSError, match="Input/output"):
                await asyncio.wait_for(kept.safe, 10)
            assert journal.trouble.code == "state_folder"
            assert not kept.file.exists()

    async def test_that_is_full_in_the_end_leaves_it_in_memory_from_where_it_is_sent(self, practised, entry, slow_disk):
        async with practised(retry_secs=0.01) as journal:
            slow_disk.begin()
            kept = await journal.keep(entry(), picture_of(b"abcdef"))
            slow_disk.error = OSError(errno.ENOSPC, "No space left on device")
            slow_disk.set()
            await asyncio.wait_for(kept.safe, 10)
            assert journal.trouble.code == "disk_full"
            assert kept.at_hand == b"abcdef"
            slow_disk.error = None
            await is_well(journal)
            assert kept.file.read_bytes() == b"abcdef"

    async def test_is_not_asked_again_for_a_result_that_was_settled_meanwhile(self, practised, entry, slow_disk):
        async with practised() as journal:
            slow_disk.begin()
            kept = await journal.keep(entry(), picture_of())
            journal.close(kept, Gone(False, "cancelled"))
            slow_disk.error = OSError(errno.EIO, "Input/output error")
            slow_disk.set()
            await asyncio.wait_for(kept.safe, 10)
            assert journal.trouble is None

    async def test_says_at_the_end_what_lies_in_memory_alone_and_is_lost(self, practised, entry, slow_disk, caplines):
        async with practised(retry_secs=60) as journal:
            slow_disk.begin()
            kept = await journal.keep(entry(), picture_of(b"abcdef"))
            slow_disk.error = OSError(errno.ENOSPC, "No space left on device")
            slow_disk.set()
            await asyncio.wait_for(kept.safe, 10)
        assert said(caplines, "journal.lost")["results"] == 1


class TestAFolderThatFails:
    async def test_a_file_that_its_own_engine_has_removed_is_that_jobs_failure_alone(self, life, entry, tmp_path):
        made = tmp_path / "film.mp4"
        made.write_bytes(b"a film")
        film = film_of(made)
        made.unlink()
        async with life() as journal:
            with pytest.raises(ResultRejected, match="its engine removed it"):
                await journal.keep(entry(), film)
            assert journal.trouble is None

    async def test_of_a_result_that_could_not_be_moved_nothing_is_left(self, practised, entry, state, tmp_path):
        made = tmp_path / "film.mp4"
        made.write_bytes(b"a film")
        film = film_of(made)
        made.unlink()
        async with practised() as journal:
            with pytest.raises(ResultRejected):
                await journal.keep(entry(), film)
        assert list((state / "spool").iterdir()) == []

    async def test_a_result_that_cannot_be_synced_fails_and_none_is_asked_for_until_one_can_be(
        self, life, entry, monkeypatch
    ):
        real = spool.sync_file

        def broken(descriptor):
            raise OSError(errno.EIO, "Input/output error")

        async with life(retry_secs=0.01) as journal:
            monkeypatch.setattr(spool, "sync_file", broken)
            kept = await journal.keep(entry(), picture_of())
            with pytest.raises(OSError, match="Input/output"):
                await kept.safe
            assert journal.trouble.code == "state_folder"
            assert "Input/output error" in journal.trouble.detail
            monkeypatch.setattr(spool, "sync_file", real)
            await is_well(journal)

    async def test_a_state_folder_that_is_removed_is_a_trouble_although_no_write_fails(self, life, entry, state):
        async with life(retry_secs=0.01) as journal:
            shutil.rmtree(state)
            journal.accept(entry())
            await journal.committed(entry())
            assert journal.trouble.code == "state_folder"
            assert not state.exists()

    async def test_one_that_is_put_back_goes_on_with_its_journal(self, life, entry, state):
        async with life(retry_secs=0.01) as journal:
            state.rename(state.with_name("away"))
            journal.accept(entry())
            await journal.committed(entry())
            state.with_name("away").rename(state)
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.RUNNING)]

    async def test_one_that_is_made_anew_gets_a_journal_with_what_is_owed(self, life, entry, state):
        async with life(retry_secs=0.01) as journal:
            journal.accept(entry())
            await journal.committed(entry())
            shutil.rmtree(state)
            state.mkdir()
            journal.accept(entry("job-2"))
            await journal.committed(entry("job-2"))
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.RUNNING), ("job-2", Stage.RUNNING)]

    async def test_a_journal_that_can_never_be_opened_again_is_closed_without_a_word(self, life, entry, state):
        async with life(retry_secs=60) as journal:
            journal_path(state).unlink()
            journal_path(state).mkdir()
            journal.accept(entry())
            await journal.committed(entry())
            assert journal.trouble.code == "journal"

    async def test_a_foreign_lock_is_a_trouble_of_the_journal_until_it_is_gone(self, life, entry, state):
        async with life(retry_secs=0.01, busy_secs=0.01) as journal:
            with closing(sqlite3.connect(journal_path(state), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                journal.accept(entry())
                await journal.committed(entry())
                assert journal.trouble.code == "journal"
                assert "locked by" not in journal.note
            await is_well(journal)
            assert rows(state) == [("job-1", Stage.RUNNING)]

    async def test_a_write_that_does_not_come_back_is_a_trouble_while_it_lasts(self, life, entry, state):
        hangs = HangWatch(time.monotonic, patience_secs=0.05)
        async with life(busy_secs=60, hangs=hangs) as journal:
            with closing(sqlite3.connect(journal_path(state), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                journal.accept(entry())
                async with asyncio.timeout(10):
                    while journal.trouble is None:
                        await asyncio.sleep(0.005)
                assert journal.trouble.code == "disk_hangs"
            await is_well(journal)


class TestHistory:
    async def test_of_settled_jobs_is_bounded_by_count_and_open_ones_stay(self, life, entry, state, clock):
        async with life() as journal:
            await journal.keep(entry("a-kept"), picture_of())
            for number in range(20):
                clock.advance(1)
                journal.accept(entry(f"job-{number:02}"))
                journal.drop(entry(f"job-{number:02}"))
        async with life(history=History(settled_rows=5)):
            async with asyncio.timeout(10):
                while len(rows(state)) > 6:
                    await asyncio.sleep(0.005)
        assert [job_id for job_id, _ in rows(state)] == ["a-kept", *(f"job-{number}" for number in range(15, 20))]

    async def test_of_settled_jobs_goes_in_the_order_of_writing_whatever_the_clock_said(
        self, life, entry, state, clock
    ):
        async with life() as journal:
            for ahead, names in ((365, "ab"), (0, "cd")):
                clock.ahead = timedelta(days=ahead)
                for name in names:
                    journal.accept(entry(name))
                    journal.drop(entry(name))
        async with life(history=History(settled_rows=2)):
            async with asyncio.timeout(10):
                while len(rows(state)) > 2:
                    await asyncio.sleep(0.005)
        assert [job_id for job_id, _ in rows(state)] == ["c", "d"]

    async def test_of_settled_jobs_keeps_what_is_known_of_deaths(self, life, killed, entry, state):
        journal = await killed()
        journal.accept(entry("deadly"))
        await journal.committed(entry("deadly"))
        await killed.kill(journal)
        async with life() as journal:
            for number in range(5):
                journal.accept(entry(f"job-{number}"))
                journal.drop(entry(f"job-{number}"))
        async with life(history=History(settled_rows=2)):
            async with asyncio.timeout(10):
                while len(rows(state)) > 3:
                    await asyncio.sleep(0.005)
        assert [job_id for job_id, _ in rows(state)] == ["deadly", "job-3", "job-4"]

    async def test_of_settled_jobs_is_bounded_by_age(self, life, entry, state, clock, monkeypatch):
        monkeypatch.setattr(upkeep, "PAUSE_SECS", 0.01)
        async with life() as journal:
            journal.accept(entry())
            journal.drop(entry())
        clock.advance(31 * 24 * 3600)
        async with life() as journal:
            journal.accept(entry("job-2"))
            journal.drop(entry("job-2"))
            async with asyncio.timeout(10):
                while ("job-1", Stage.DROPPED) in rows(state):
                    await asyncio.sleep(0.005)


async def test_can_be_closed_twice(life):
    async with life() as journal:
        await journal.aclose()


async def test_a_job_that_cannot_be_written_costs_no_other_job_its_row(life, entry, state, caplines):
    async with life() as journal:
        journal.accept(entry("job-1", model="\ud800"))
        journal.accept(entry("job-2"))
        await journal.committed(entry("job-2"))
        assert rows(state) == [("job-2", Stage.RUNNING)]
        assert journal.trouble is None
    assert said(caplines, "journal.row")
