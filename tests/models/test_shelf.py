from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from studio_worker.models import shelf as shelf_module
from studio_worker.models.ledger import Ledger
from studio_worker.models.shelf import Shelf
from studio_worker.wire.model_source import ModelFile, parse_model_source


def file_of(data: bytes) -> ModelFile:
    file = {"role": "model", "url": "https://files.example/a", "filename": "a"}
    return parse_model_source(
        {"engine": "onnx", "files": [{**file, "sha256": hashlib.sha256(data).hexdigest()}]}
    ).files[0]


class Hashings:
    """What is hashed at this moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = threading.Event()
        self.running: list[Path] = []
        self.most = 0
        real = shelf_module.hash_of

        def hash_of(path: Path, *more: Any) -> str:
            self.running.append(path)
            self.most = max(self.most, len(self.running))
            self.started.set()
            try:
                return real(path, *more)
            finally:
                self.running.remove(path)

        monkeypatch.setattr(shelf_module, "hash_of", hash_of)


@pytest.fixture
def hashings(monkeypatch: pytest.MonkeyPatch) -> Hashings:
    return Hashings(monkeypatch)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that takes a while to hash."""
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(256 * 2**20)
    return path


async def test_a_cancelled_job_leaves_no_hashing_behind(large: Path, hashings: Hashings) -> None:
    ledger = Ledger()
    task = asyncio.create_task(Shelf(ledger).find(file_of(b"other"), [large.parent]))
    await asyncio.to_thread(hashings.started.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hashings.running == []
    assert ledger.record(large) is None


async def test_after_a_cancelled_job_the_next_one_hashes_alone(large: Path, hashings: Hashings) -> None:
    shelf = Shelf(Ledger())
    first, second = (asyncio.create_task(shelf.find(file_of(b"other"), [large.parent])) for _ in range(2))
    await asyncio.to_thread(hashings.started.wait, 20)
    first.cancel()
    assert (await second)[0] is None
    assert hashings.most == 1


async def test_nothing_is_kept_of_a_hashing_that_is_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    shelf = Shelf(Ledger())
    seen, _ = await shelf.find(file_of(b"weights"), [tmp_path])
    assert seen is not None
    assert not shelf._hashing
