"""The `models` commands beside a running worker: what its jobs use stays."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from studio_worker.models.ledger import Ledger
from studio_worker.wire.model_source import parse_model_source
from studio_worker.worker import Worker


@pytest.fixture
def source():
    """The model of a job: one file that lies in the models folder."""
    file = {"role": "model", "url": "https://files.example/a.gguf", "filename": "a.gguf"}
    return parse_model_source({"engine": "gate", "files": [file]})


@pytest.fixture
def models(tmp_path: Path):
    """Runs `models …` in a process of its own, with the worker's settings."""
    environ = {
        "STUDIO_WORKER_STATE_DIR": str(tmp_path / "state"),
        "STUDIO_WORKER_MODELS_ROOT": str(tmp_path / "models"),
        "HOME": str(tmp_path),
    }

    async def call(*args: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "studio_worker", "models", *args),
            env=os.environ | environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return call


async def released(state: Path) -> None:
    """Until the worker has written down that no job uses a file any more."""
    ledger = Ledger.of(state)
    while await asyncio.to_thread(ledger.in_use):
        await asyncio.sleep(0.01)
    ledger.close()


async def test_a_file_goes_only_when_the_job_that_uses_it_is_over(
    settings, gate, words, soon, source, models, tmp_path: Path
):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").write_bytes(b"weights")
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words(), model="m", source=source)
        await soon(gate.entered.get())
        status, _, err = await soon(models("remove", "a.gguf", "--yes"))
        assert status == 1
        assert "a.gguf: in use now" in err
        gate.opened.set()
        await soon(job)
        await soon(released(tmp_path / "state"))
        status, out, err = await soon(models("remove", "a.gguf", "--yes"))
        assert (status, err) == (0, "")
        assert "removed a.gguf" in out
    assert not (tmp_path / "models" / "a.gguf").exists()
