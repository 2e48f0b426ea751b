from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio_worker.fetch.filling import BATCH_BYTES, MAX_WAITING, Filling
from studio_worker.fetch.part_sum import PartSum
from studio_worker.fetch.resumable_file import ResumableFile

from .file_server import DATA, FileServer

BATCH = b"x" * BATCH_BYTES


@pytest.fixture
def part(tmp_path: Path) -> ResumableFile:
    return ResumableFile(tmp_path / "a.bin")


async def test_bytes_reach_the_disk_in_their_order_with_their_hash(part: ResumableFile) -> None:
    filling = Filling(part, PartSum())
    pieces = [bytes([number]) * 300_000 for number in range(20)]
    for piece in pieces:
        await filling.put(piece)
    digest = await filling.end()
    assert part.path.read_bytes() == b"".join(pieces)
    assert digest == hashlib.sha256(b"".join(pieces)).hexdigest()


async def test_what_lay_there_is_hashed_too_and_what_lay_behind_is_cut_off(part: ResumableFile) -> None:
    part.path.write_bytes(b"head" + b"to be cut off")
    summed = PartSum()
    await summed.reach(part, 4)
    filling = Filling(part, summed)
    await filling.put(b"tail")
    assert await filling.end() == hashlib.sha256(b"headtail").hexdigest()
    assert part.path.read_bytes() == b"headtail"
    assert filling.size == 8


async def test_nothing_at_all_is_an_empty_file(part: ResumableFile) -> None:
    assert await Filling(part, PartSum()).end() == hashlib.sha256(b"").hexdigest()
    assert part.path.read_bytes() == b""


async def test_what_has_come_is_kept_when_a_try_is_left(part: ResumableFile) -> None:
    filling = Filling(part, PartSum())
    await filling.put(b"some")
    await filling.leave()
    assert part.path.read_bytes() == b"some"


class SlowDisk:
    """Holds every write until `opened` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        real = os.write

        def write(descriptor: int, data: Any) -> int:
            self.opened.wait(20)
            return real(descriptor, data)

        monkeypatch.setattr("studio_worker.fetch.filling.os.write", write)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.opened.set()


async def test_the_network_waits_for_a_slow_disk_so_that_memory_stays_bounded(
    part: ResumableFile, slow_disk: SlowDisk
) -> None:
    filling = Filling(part, PartSum())
    for _ in range(MAX_WAITING // BATCH_BYTES):
        await filling.put(BATCH)
    waiting = asyncio.create_task(filling.put(BATCH))
    await asyncio.sleep(0)
    assert not waiting.done()
    slow_disk.opened.set()
    await waiting
    await filling.end()
    assert part.look() == MAX_WAITING + BATCH_BYTES


async def test_a_short_write_is_made_good(part: ResumableFile, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr("studio_worker.fetch.filling.os.write", lambda fd, data: real(fd, data[:1_000]))
    filling = Filling(part, PartSum())
    await filling.put(DATA)
    await filling.end()
    assert part.path.read_bytes() == DATA


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file of this process may grow past 300,000 bytes: the kernel refuses to write them, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    yield 300_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_refuses_in_the_middle_is_told_at_the_end(part: ResumableFile, small_disk: int) -> None:
    filling = Filling(part, PartSum())
    await filling.put(b"x" * 500_000)
    with pytest.raises(OSError, match="File too large"):
        await filling.end()
    assert part.look() == small_disk


async def put_much(filling: Filling) -> None:
    for _ in range(40):
        await filling.put(BATCH)


async def test_a_disk_that_refuses_holds_nobody_up(part: ResumableFile, small_disk: int) -> None:
    filling = Filling(part, PartSum())
    with pytest.raises(OSError, match="File too large"):
        await put_much(filling)
    await filling.leave()


async def test_a_place_that_cannot_be_opened_holds_nobody_up(part: ResumableFile) -> None:
    part.path.mkdir()
    filling = Filling(part, PartSum())
    with pytest.raises(OSError, match="directory"):
        await put_much(filling)
    await filling.leave()


async def test_a_download_that_the_disk_refuses_names_the_folder_and_goes_on_later(
    server: FileServer, pull: Any, small_disk: int
) -> None:
    error = await pull.failed()
    assert f"cannot be written to {pull.dest.parent}: File too large" in str(error)
    assert error.retryable
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    await pull()
    assert server.asked[1].start == small_disk
    assert pull.dest.read_bytes() == DATA


async def test_no_thread_and_no_file_stays_open_after_a_failure(part: ResumableFile, small_disk: int) -> None:
    filling = Filling(part, PartSum())
    await filling.put(b"x" * 500_000)
    await filling.leave()
    assert not [thread for thread in threading.enumerate() if thread.name == "fill-a.bin"]
    assert str(part.path) not in {os.readlink(each) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}
