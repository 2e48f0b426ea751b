"""Inputs, fetched side by side."""

import asyncio

import pytest

from studio_worker.errors import FetchFailed
from studio_worker.fetch.guard import Guard
from studio_worker.fetch.http import Fetcher
from studio_worker.jobs.inputs import fetch_inputs
from studio_worker.jobs.plan import Wanted
from studio_worker.testing.claims import silence, silence_url


class Slow:
    """Fetches that wait for each other, to show that they run side by side."""

    def __init__(self, count, failing=()):
        self.barrier = asyncio.Barrier(count)
        self.failing = failing
        self.ended = []

    async def fetch(self, url, dest, *, limit_bytes, what):
        try:
            await self.barrier.wait()
            if url in self.failing:
                raise FetchFailed(f"{what} could not be fetched")
            if self.failing:
                await asyncio.sleep(30)
            dest.write_text(f"{url} {limit_bytes}")
        finally:
            self.ended.append(url)


async def test_inputs_lie_in_the_jobs_folder_by_role(tmp_path):
    async with Fetcher(lambda: Guard(own_origin=None), user_agent="test") as fetcher:
        files = await fetch_inputs([Wanted("audio", "task.inputUrl", silence_url(), 10**6)], fetcher, tmp_path)
    assert files["audio"].parent == tmp_path
    assert files["audio"].read_bytes() == silence()


async def test_inputs_are_fetched_side_by_side_each_with_its_limit(tmp_path):
    wanted = [Wanted("image", "task.initImageUrl", "a", 1), Wanted("mask", "task.maskUrl", "b", 2)]
    async with asyncio.timeout(10):
        files = await fetch_inputs(wanted, Slow(2), tmp_path)
    assert {role: path.read_text() for role, path in files.items()} == {"image": "a 1", "mask": "b 2"}


async def test_the_first_failure_ends_the_others(tmp_path):
    wanted = [Wanted("image", "task.initImageUrl", "a", 1), Wanted("mask", "task.maskUrl", "b", 2)]
    fetcher = Slow(2, failing=("b",))
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup) as caught:
            await fetch_inputs(wanted, fetcher, tmp_path)
    assert "task.maskUrl" in str(caught.value.exceptions[0])
    assert sorted(fetcher.ended) == ["a", "b"]
