"""A trouble ends when all is written, and what failed meanwhile is no exception."""

import asyncio
import sqlite3
import time

import pytest

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


async def test_what_fails_while_the_last_round_goes_on_is_tried_in_another_one(tmp_path, spool):
    told, rounds, losses = [], [], []

    def commit_all():
        rounds.append(len(told))
        if len(rounds) == 1:
            watch.failed(TROUBLE, sqlite3.OperationalError("locked"))
        done = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    watch = RoomWatch(tmp_path, spool, commit_all, lambda: told.append(watch.trouble), losses.append, retry_secs=0.001)
    watch.failed(TROUBLE, sqlite3.OperationalError("locked"))
    async with asyncio.timeout(10):
        while watch.trouble is not None:
            await asyncio.sleep(0.001)
    assert told == [TROUBLE, None]
    assert rounds == [1, 1]
    assert losses == []
