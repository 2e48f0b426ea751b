"""Fault F-55: what a power loss at each moment of a result's way may leave, and what the next start makes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from studio_worker.clock import SystemClock
from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.kept_journal import KeptJournal

from .disk_tape import Disk, lay_out, read_tape, recorded

pytestmark = pytest.mark.needs("strace")

ORIGIN, WORKER = "https://studio.example", "w-1"
MORTAL = """
import asyncio, hashlib, json, os, random, sys
from pathlib import Path
from studio_worker.clock import SystemClock
from studio_worker.jobs.kept_journal import KeptJournal
from studio_worker.jobs.results import Artifact, Entry
from studio_worker.jobs.settlement import Done
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.kinds import TaskKind

def say(what, job_id, data=b""):
    os.write(1, json.dumps([what, job_id, hashlib.sha256(data).hexdigest()]).encode() + b"\\n")

async def main():
    journal = KeptJournal(Path(sys.argv[1]), sys.argv[2], SystemClock())
    await journal.open()
    await journal.recall(sys.argv[3])
    rng, before = random.Random(7), None
    for number in range(6):
        data = rng.randbytes(20_000)
        entry = Entry(
            job_id=f"job-{number}", fingerprint=Fingerprint(text="f"), kind=TaskKind.IMAGE, model="m", engine="e",
            prompt="a cup", accepted_at=0.0,
        )
        journal.accept(entry)
        await journal.committed(entry)
        made = data
        if number > 3:
            made = Path(sys.argv[1], "work", f"made-{number}")
            made.parent.mkdir(exist_ok=True)
            made.write_bytes(data)
        kept = await journal.keep(entry, Artifact(kind=TaskKind.IMAGE, size=len(data), ext="png", data=made))
        if kept.safe is not None:
            await kept.safe
        say("safe", entry.job_id, data)
        if before is not None:
            say("settled", before.job_id)
            journal.close(before, Done())
            await asyncio.sleep(0.05)
        before = kept if number in (0, 2) else None
    os._exit(0)

asyncio.run(main())
"""
"""Keeps six results, two in files, and settles the first and the third."""


async def recalled(folder: Path) -> dict[str, str]:
    """By job, the hash of the file that a worker started on this folder would give; empty for one that is damaged."""
    journal = KeptJournal(folder, ORIGIN, SystemClock())
    await journal.open()
    try:
        assert journal.note == ""
        found = {}
        for each in await journal.recall(WORKER):
            data = each.kept.file.read_bytes()[: each.kept.artifact.size]
            is_whole = checksum_of([data]) == each.kept.checksum
            found[each.kept.job_id] = hashlib.sha256(data).hexdigest() if is_whole else ""
        return found
    finally:
        await journal.aclose()


@pytest.mark.timeout(300)
async def test_whatever_a_power_loss_leaves_a_result_that_was_safe_is_there_and_whole(tmp_path: Path) -> None:
    state = tmp_path / "state"
    log = await recorded(tmp_path / "log", MORTAL, str(state), ORIGIN, WORKER)
    disk, rng, owed, images = Disk(state), Random(11), dict[str, str](), Counter[str]()
    for number, call in enumerate(read_tape(log)):
        if call.data.startswith(b'["'):
            what, job_id, digest = json.loads(call.data)
            if what == "safe":
                owed[job_id] = digest
            else:
                del owed[job_id]
        if not disk.holds(call.path):
            continue
        disk.play(call)
        for name, image in disk.images(rng):
            folder = lay_out(image, tmp_path / f"{number}-{name}")
            found = await recalled(folder)
            lost = {job_id for job_id, digest in owed.items() if found.get(job_id) != digest}
            assert not lost, f"after call {number}, {call.name} of {call.path.name}, with {name}"
            images[name] += 1
            shutil.rmtree(folder)
    print(dict(images), f"{len(owed)} results owed at the end")
    assert set(owed) == {"job-1", "job-3", "job-4", "job-5"}
    assert min(images.values()) > 50
