"""The history within its bounds, for as long as the worker lives."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

from studio_worker.jobs import upkeep
from studio_worker.jobs.journal_file import journal_path
from studio_worker.jobs.journal_history import History
from studio_worker.jobs.journal_row import Stage

from .journal_rows import json_of, picture_of, rows


async def test_gives_up_loudly_what_nobody_of_another_name_took_for_a_week(
    life, entry, state, clock, monkeypatch, caplines
):
    async with life("w-old") as journal:
        await journal.keep(entry("theirs"), picture_of())
        await journal.keep(entry("theirs-json"), json_of())
    async with life("w-1") as journal:
        await journal.keep(entry("ours"), picture_of())
    clock.advance(8 * 24 * 3600)
    monkeypatch.setattr(upkeep, "PAUSE_SECS", 0.01)
    async with life("w-1") as journal:
        async with asyncio.timeout(10):
            while len(list((state / "spool").iterdir())) > 1:
                await asyncio.sleep(0.005)
        assert [found.kept.job_id for found in journal.recalled] == ["ours"]
    assert rows(state) == [("ours", Stage.KEPT), ("theirs", Stage.FAILED), ("theirs-json", Stage.FAILED)]
    assert [file.name for file in (state / "spool").iterdir()] == [journal.recalled[0].kept.file.name]
    told = [line for line in caplines if line["event"] == "journal.too_old"]
    assert sorted(line["job_id"] for line in told) == ["theirs", "theirs-json"]
    assert {line["level"] for line in told} == {"ERROR"}


async def test_gives_nothing_up_where_the_wall_clock_has_jumped(life, entry, state, clock, monkeypatch):
    looks, go_on = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def pause(secs):
        looks.release()
        await go_on.acquire()

    async with life("w-old") as journal:
        await journal.keep(entry("theirs"), picture_of())
    async with life("w-1") as journal:
        journal.accept(entry("ended"))
        journal.drop(entry("ended"))
    monkeypatch.setattr(upkeep, "asyncio", SimpleNamespace(sleep=pause))
    async with asyncio.timeout(10), life("w-1"):
        await looks.acquire()
        for years in (10, 0, 0):
            clock.ahead = timedelta(days=365 * years)
            go_on.release()
            await looks.acquire()
        assert rows(state) == [("ended", Stage.DROPPED), ("theirs", Stage.KEPT)]


async def test_gives_nothing_up_before_it_has_lived_for_a_while(life, entry, state, clock, monkeypatch):
    paused = asyncio.Event()

    async def pause(secs):
        paused.set()
        await asyncio.get_running_loop().create_future()

    async with life("w-old") as journal:
        await journal.keep(entry(), picture_of())
    clock.advance(8 * 24 * 3600)
    monkeypatch.setattr(upkeep, "asyncio", SimpleNamespace(sleep=pause))
    async with life("w-1"):
        async with asyncio.timeout(10):
            await paused.wait()
    assert rows(state) == [("job-1", Stage.KEPT)]


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
        for number in range(1, 5):
            journal.accept(entry(f"job-{number}"))
            journal.drop(entry(f"job-{number}"))
        async with asyncio.timeout(10):
            while journal.trouble is not None or rows(state) != [("job-0", Stage.RUNNING), ("job-4", Stage.DROPPED)]:
                await asyncio.sleep(0.005)
