"""A trouble ends when all is written, and what failed meanwhile is no exception."""

import asyncio
import errno
import sqlite3
import threading
import time
from types import SimpleNamespace

import pytest

from studio_worker.jobs import room_watch
from studio_worker.jobs.hang_watch import HangWatch
from studio_worker.jobs.journal import Trouble
from studio_worker.jobs.room_watch import RoomWatch
from studio_worker.jobs.spool import Spool

TROUBLE = Trouble("journal", "the journal cannot be written")


@pytest.fixture
async def spool(tmp_path):
    found = Spool(tmp_path / "spool", HangWatch(time.monotonic))
    await found.open(())
    yield found
    await found.aclose()


def written():
    done = asyncio.get_running_loop().create_future()
    done.set_result(True)
    return done


async def test_what_fails_while_the_last_round_goes_on_is_tried_in_another_one(tmp_path, spool):
    told, rounds, losses = [], [], []

    def commit_all():
        rounds.append(len(told))
        if len(rounds) == 1:
            watch.failed(TROUBLE, sqlite3.OperationalError("locked"))
        return written()

    watch = RoomWatch(tmp_path, spool, commit_all, lambda: told.append(watch.trouble), losses.append, retry_secs=0.001)
    watch.failed(TROUBLE, sqlite3.OperationalError("locked"))
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)
    assert told == [TROUBLE, None]
    assert rounds == [1, 1]
    assert losses == []


async def test_a_look_for_which_there_is_no_thread_costs_one_round(tmp_path, spool, monkeypatch):
    told, losses = [], []

    watch = RoomWatch(tmp_path, spool, written, lambda: told.append(watch.trouble), losses.append, retry_secs=0.001)
    starts = iter([RuntimeError("can't start new thread")])
    real = threading.Thread.start

    def start(thread):
        if thread.name == "journal-room" and (error := next(starts, None)) is not None:
            raise error
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    watch.failed(TROUBLE, sqlite3.OperationalError("locked"))
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)
    assert next(starts, None) is None
    assert losses == []


async def test_a_result_that_was_lost_for_want_of_room_is_waited_for_until_there_is_as_much(
    tmp_path, spool, monkeypatch
):
    free = [1_000_000]
    monkeypatch.setattr(room_watch.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))

    rounds = []

    def commit_all():
        rounds.append(watch.trouble)
        return written()

    watch = RoomWatch(tmp_path, spool, commit_all, lambda: None, lambda error: None, retry_secs=0.001)
    watch.lacked(2_000_000, OSError(errno.ENOSPC, "No space left on device"))
    async with asyncio.timeout(10):
        while len(rounds) < 5:
            await asyncio.sleep(0.001)
    assert watch.trouble.code == "disk_full"
    free[0] = 3_000_000
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)


async def test_a_result_that_never_has_room_stops_the_others_for_a_while_only(tmp_path, spool, monkeypatch):
    monkeypatch.setattr(room_watch.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr(room_watch, "LACK_SECS", 0.02)

    watch = RoomWatch(tmp_path, spool, written, lambda: None, lambda error: None, retry_secs=0.001)
    watch.lacked(2_000_000, OSError(errno.ENOSPC, "No space left on device"))
    assert watch.trouble.code == "disk_full"
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)


async def test_after_a_file_that_no_room_helps_a_file_has_to_be_written_first(tmp_path, spool, monkeypatch):
    probe, probes = spool.probe, []

    async def failing_twice():
        probes.append(watch.trouble)
        if len(probes) < 3:
            raise OSError(errno.EIO, "Input/output error")
        await probe()

    monkeypatch.setattr(spool, "probe", failing_twice)
    watch = RoomWatch(tmp_path, spool, written, lambda: None, lambda error: None, retry_secs=0.001)
    watch.lost(OSError(errno.EIO, "Input/output error"))
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)
    assert [trouble.code for trouble in probes] == ["state_folder"] * 3


async def test_a_trouble_lasts_until_a_write_of_the_rows_has_worked(tmp_path, spool):
    answers = [False, False, True]

    def commit_all():
        done = asyncio.get_running_loop().create_future()
        done.set_result(answers.pop(0))
        return done

    watch = RoomWatch(tmp_path, spool, commit_all, lambda: None, lambda error: None, retry_secs=0.001)
    watch.failed(TROUBLE, sqlite3.OperationalError("locked"))
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)
    assert answers == []
