from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from studio_worker.fetch.filling import Filling
from studio_worker.fetch.part_sum import PartSum
from studio_worker.fetch.resumable_file import ResumableFile

from .file_server import DATA, FileServer, say, up_to

MIB = 2**20


@pytest.fixture
def part(tmp_path: Path) -> ResumableFile:
    made = ResumableFile(tmp_path / "a.bin")
    made.path.write_bytes(DATA)
    return made


class Reads:
    """Bytes of every read of a descriptor, each of which `before` may hold up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.before: Any = lambda: None
        real = os.read

        def read(descriptor: int, size: int) -> bytes:
            self.before()
            data = real(descriptor, size)
            self.sizes.append(len(data))
            return data

        monkeypatch.setattr("studio_worker.fetch.part_sum.os.read", read)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_the_first_bytes_of_a_part_are_hashed(part: ResumableFile) -> None:
    summed = PartSum()
    await summed.reach(part, 700_000)
    assert (summed.size, summed.hexdigest) == (700_000, sha(DATA[:700_000]))


async def test_only_what_is_not_hashed_yet_is_read(part: ResumableFile, reads: Reads) -> None:
    summed = PartSum()
    summed.add(DATA[:600_000])
    await summed.reach(part, len(DATA))
    assert summed.hexdigest == sha(DATA)
    assert sum(reads.sizes) == len(DATA) - 600_000


async def test_what_is_hashed_already_is_not_read_at_all(part: ResumableFile, reads: Reads) -> None:
    summed = PartSum()
    summed.add(DATA)
    await summed.reach(part, len(DATA))
    assert reads.sizes == []


@pytest.mark.parametrize("size", [0, 300_000])
async def test_a_part_that_has_lost_bytes_is_hashed_anew(part: ResumableFile, size: int) -> None:
    summed = PartSum()
    summed.add(DATA)
    await summed.reach(part, size)
    assert (summed.size, summed.hexdigest) == (size, sha(DATA[:size]))


async def test_a_part_that_becomes_shorter_meanwhile_is_told(part: ResumableFile, reads: Reads) -> None:
    reads.before = lambda: os.truncate(part.path, 0)
    with pytest.raises(OSError, match="became shorter"):
        await PartSum().reach(part, len(DATA))


async def test_a_cancellation_ends_the_reading(part: ResumableFile, reads: Reads) -> None:
    def hold() -> None:
        started.set()
        go.wait(20)

    started, go = threading.Event(), threading.Event()
    reads.before = hold
    os.truncate(part.path, 64 * MIB)
    task = asyncio.create_task(PartSum().reach(part, 64 * MIB))
    await asyncio.to_thread(started.wait, 20)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reads.sizes == [MIB]


async def test_a_part_of_an_earlier_life_is_read_once_however_often_the_rest_is_cut(
    server: FileServer, pull: Any, reads: Reads
) -> None:
    server.script = [up_to(300_000), say(401, b"")]
    await pull.failed()
    server.script = [up_to(600_000), up_to(900_000)]
    got = await pull()
    assert server.ranges[2:] == [f"bytes={start}-" for start in (300_000, 600_000, 900_000)]
    assert sum(reads.sizes) == 300_000
    assert (got.sha256, pull.dest.read_bytes()) == (sha(DATA), DATA)


async def test_a_part_is_read_before_the_server_is_asked_for_the_rest(
    server: FileServer, pull: Any, reads: Reads
) -> None:
    server.script = [up_to(300_000), say(401, b"")]
    await pull.failed()
    asked: list[int] = []
    reads.before = lambda: asked.append(len(server.asked))
    await pull()
    assert asked == [2]
    assert len(server.asked) == 3


async def test_a_download_that_starts_over_has_the_hash_of_what_came_then(server: FileServer, pull: Any) -> None:
    other = DATA[::-1]
    server.script = [up_to(300_000), say(200, other, ETag='"two"', Content_Length=len(other))]
    got = await pull()
    assert (got.sha256, pull.dest.read_bytes()) == (sha(other), other)


async def test_what_the_disk_took_of_a_write_that_failed_is_hashed_at_the_next_try(
    part: ResumableFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, data: bytes) -> int:
        if part.look():
            raise OSError("the disk refuses")
        return real(descriptor, data[:1_000])

    real = os.write
    summed = PartSum()
    filling = Filling(part, summed)
    with monkeypatch.context() as patch:
        patch.setattr("studio_worker.fetch.filling.os.write", write)
        await filling.put(DATA[:5_000])
        await filling.leave()
    await summed.reach(part, part.look())
    assert (summed.size, summed.hexdigest) == (1_000, sha(DATA[:1_000]))
