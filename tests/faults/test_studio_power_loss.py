"""What a power loss at each moment of a job's way may leave of a studio: all that it has answered for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from studio_worker.studio.blobs import Blobs
from studio_worker.studio.store.rows import JobState
from studio_worker.studio.store.sqlite import SqliteStore

from .disk_tape import Disk, lay_out, read_tape, recorded

pytestmark = pytest.mark.needs("strace")

NOW = "2026-01-01T00:00:00.000Z"
MORTAL = """
import asyncio, hashlib, json, os, random, sys
from pathlib import Path
from studio_worker.studio.blobs import Blobs
from studio_worker.studio.store.rows import BlobOutcome, JsonOutcome, LogLine, NewJob, Wants
from studio_worker.studio.store.sqlite import SqliteStore

def say(what, job_id, data=b""):
    os.write(1, json.dumps([what, job_id, hashlib.sha256(data).hexdigest()]).encode() + b"\\n")

async def main():
    folder, rng = Path(sys.argv[1]), random.Random(7)
    store, blobs = SqliteStore(folder / "studio.db", lambda: "2026-01-01T00:00:00.000Z"), Blobs(folder / "blobs")
    line = LogLine(worker_id="w", job_id=None, at="", level="info", category="", message="")
    for number in range(4):
        kind, job_id = ("image", "llm")[number % 2], f"job-{number}"
        await store.add_job(NewJob(id=job_id, model="m", kind=kind, engine="e", task={"kind": kind}, model_source={}))
        say("added", job_id)
        await store.claim_next([Wants(worker_id="w", serves=((kind, "e"),), vram_gb=8.0)])
        await store.append_logs([line], 9)
        data = rng.randbytes(9_000)
        if kind == "image":
            temp = blobs.temp()
            temp.write_bytes(data)
            outcome = BlobOutcome(blob=blobs.keep(temp, job_id), media_type="image/png", blob_bytes=len(data))
        else:
            outcome = JsonOutcome(result=data.hex())
        assert await store.finish(job_id, "w", None, outcome, None)
        say("done", job_id, data)
        await store.append_logs([line], 9)
    os._exit(0)

asyncio.run(main())
"""
"""Queues four jobs and has them done, one after another."""


async def found(folder: Path) -> dict[str, str]:
    """By job, the hash of the result that a studio started on this folder has; of nothing for a job without one."""
    store, blobs = SqliteStore(folder / "studio.db", lambda: NOW), Blobs(folder / "blobs")
    try:
        results = {}
        for job in await store.jobs(None, 100, None):
            data = b""
            if job.state is JobState.DONE:
                path = blobs.path(job.blob) if job.blob else None
                data = path.read_bytes() if path else bytes.fromhex(str(job.result))
            results[job.id] = hashlib.sha256(data).hexdigest()
        return results
    finally:
        await store.aclose()


@pytest.mark.timeout(300)
async def test_what_a_studio_has_answered_for_outlives_a_power_loss_at_any_moment(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    log = await recorded(tmp_path / "log", MORTAL, str(state))
    disk, rng, owed, images = Disk(state), Random(11), dict[str, str](), Counter[str]()
    for number, call in enumerate(read_tape(log)):
        if call.data.startswith(b'["'):
            what, job_id, digest = json.loads(call.data)
            # A job that is only queued so far has to be there, done or not.
            owed[job_id] = digest if what == "done" else ""
        if not disk.holds(call.path):
            continue
        disk.play(call)
        if not owed:
            continue
        for name, image in disk.images(rng):
            folder = lay_out(image, tmp_path / f"{number}-{name}")
            there = await found(folder)
            lost = {
                job_id for job_id, digest in owed.items() if job_id not in there or (digest and there[job_id] != digest)
            }
            assert not lost, f"after call {number}, {call.name} of {call.path.name}, with {name}"
            images[name] += 1
            shutil.rmtree(folder)
    assert len(owed) == 4
    assert min(images.values()) > 50
