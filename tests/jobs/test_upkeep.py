"""The history within its bounds, for as long as the worker lives."""

import asyncio

from studio_worker.jobs import upkeep
from studio_worker.jobs.journal_file import journal_path
from studio_worker.jobs.journal_history import History

from .journal_rows import rows


async def test_goes_on_after_a_time_in_which_the_journal_could_not_be_opened(life, entry, state, monkeypatch, caplines):
    monkeypatch.setattr(upkeep, "PAUSE_SECS", 0.01)
    async with life(history=History(settled_rows=1), retry_secs=0.01) as journal:
        journal_path(state).unlink()
        journal_path(state).mkdir()
        journal.accept(entry("job-0"))
        await journal.committed(entry("job-0"))
        async with asyncio.timeout(10):
            while not any(line["event"] == "journal.history" for line in caplines):
                await asyncio.sleep(0.005)
        journal_path(state).rmdir()
        for number in range(4):
            journal.accept(entry(f"job-{number}"))
            journal.drop(entry(f"job-{number}"))
        async with asyncio.timeout(10):
            while journal.trouble is not None or len(rows(state)) > 1:
                await asyncio.sleep(0.005)
