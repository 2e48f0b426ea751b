"""Faults F-60 and F-62 on a real disk that is really full: a file system of 400 KiB in a namespace of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

ON_A_SMALL_DISK = 'mount -t tmpfs -o size=400k none "$1" && exec "$2" -c "$3" "$1"'

SCENE = """
import asyncio, json, os, sys
from pathlib import Path
from studio_worker import Config, Worker, ImageResult
from studio_worker.testing.scripted_studio import ScriptedStudio
from tests.faults.conftest import QUICK, Counting, picture, result_of, words

async def until(ready):
    async with asyncio.timeout(20):
        while not ready():
            await asyncio.sleep(0.005)

async def main(disk):
    said = {}
    engine = Counting()
    async with ScriptedStudio() as studio:
        config = Config(
            api_base_url=studio.url, state_dir=disk / "state", models_root=disk / "models",
            register_poll_secs=0.05, reconnect_base_secs=0.02, disabled_engines=("piper", "whisper", "synthetic"),
        )
        async with Worker(config, engines=[engine], timings=QUICK) as worker:
            await studio.welcomed()
            studio.upload_answers.always = 503
            ballast = disk / "ballast"

            def fill(job):
                with open(ballast, "wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(b"x" * 1024)
                    except OSError:
                        pass
                return result_of(job)

            engine.behave = fill
            await studio.offer(picture("job-1", width=128, height=128))
            await until(lambda: worker.status()["trouble"])
            said["trouble"] = worker.status()["trouble"]
            await studio.offer(words("job-2"))
            reject = await studio.frame("reject", job_id="job-2")
            said["reject"] = [reject["code"], reject["reason"]]
            seen = len(studio.of_type("heartbeat"))
            beat = await studio.frame("heartbeat", nth=seen + 1)
            said["autoEnabled"] = beat["capabilities"]["autoEnabled"]
            studio.upload_answers.always = None
            await studio.until(lambda: "job-1" in studio.done, what="the result that memory held")
            ballast.unlink()
            await until(lambda: worker.status()["trouble"] is None)
            engine.behave = result_of
            for job in (picture("job-3"), words("job-4")):
                await studio.offer(job)
                await studio.until(lambda: job["jobId"] in studio.done, what=job["jobId"])
            said |= {"runs": dict(engine.runs), "sessions": len(studio.sessions), "violations": studio.violations}
            said["fails"] = len(studio.of_type("fail"))
            await worker.abandon()
    print(json.dumps(said))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs namespaces")
async def test_a_full_disk_pauses_the_worker_and_costs_no_result(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", str(disk), sys.executable, SCENE),
        cwd=Path(__file__).parents[2],
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    print(err.decode())
    said = json.loads(out)

    assert said["trouble"] == "disk_full"
    assert said["reject"][0] == "paused"
    assert said["reject"][1].startswith("disk_full")
    assert said["autoEnabled"] is False
    assert said["runs"] == {"job-1": 1, "job-3": 1, "job-4": 1}
    assert (said["sessions"], said["violations"], said["fails"]) == (1, [], 0)
