from __future__ import annotations

import os
from pathlib import Path

import pytest

from studio_worker.fetch.atomic_file import BATCH_BYTES, AtomicFile


async def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    dest = tmp_path / "a.bin"
    part = AtomicFile(dest)
    await part.write(b"x" * BATCH_BYTES)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    await part.write(b"y")
    await part.finish()
    assert list(tmp_path.iterdir()) == [dest]
    assert dest.read_bytes() == b"x" * BATCH_BYTES + b"y"
    assert part.size == BATCH_BYTES + 1


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    part = AtomicFile(tmp_path / "a.bin")
    await part.finish()
    assert (tmp_path / "a.bin").read_bytes() == b""


async def test_what_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    part = AtomicFile(tmp_path / "a.bin")
    await part.write(b"x" * BATCH_BYTES)
    await part.discard()
    await part.discard()
    assert list(tmp_path.iterdir()) == []


async def test_a_small_file_touches_the_disk_once_at_the_end(tmp_path: Path) -> None:
    part = AtomicFile(tmp_path / "a.bin")
    await part.write(b"x" * 1000)
    assert list(tmp_path.iterdir()) == []
    await part.discard()


async def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    dest = tmp_path / "a.bin"
    dest.symlink_to(other)
    part = AtomicFile(dest)
    await part.write(b"new")
    await part.finish()
    assert other.read_bytes() == b"precious"
    assert not dest.is_symlink()


async def test_a_pipe_at_the_target_is_replaced_and_not_opened(tmp_path: Path) -> None:
    dest = tmp_path / "a.bin"
    os.mkfifo(dest)
    part = AtomicFile(dest)
    await part.write(b"new")
    await part.finish()
    assert dest.read_bytes() == b"new"


async def test_a_folder_at_the_target_is_an_error_and_leaves_no_part(tmp_path: Path) -> None:
    dest = tmp_path / "a.bin"
    dest.mkdir()
    part = AtomicFile(dest)
    await part.write(b"new")
    with pytest.raises(OSError, match=r"."):
        await part.finish()
    await part.discard()
    assert list(tmp_path.iterdir()) == [dest]
