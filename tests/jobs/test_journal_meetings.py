"""The loop, the journal's thread and the spool's meet: whatever comes first, what is owed is written, once and last."""

from studio_worker.jobs.journal_history import History, forget_settled
from studio_worker.jobs.journal_row import Stage

from .journal_rows import is_well, picture_of, rows, spoil


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
