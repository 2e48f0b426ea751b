"""Faults F-60 and F-62 on a real disk: a small file system in a namespace of its own, filled up or made read-only.

Each write in its turn: journal and spool, the log, a download's part, a job's input, the credentials.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("namespaces")

ON_A_SMALL_DISK = 'mount -t tmpfs -o size=72m none "$1" && exec "$2" -c "$3" "$1" "$4"'

STAGE = """
import asyncio, json, subprocess, sys
from pathlib import Path
from types import SimpleNamespace
from studio_worker import Config, Worker, readiness
from studio_worker.fetch import disk as downloads
from studio_worker.log import set_up
from studio_worker.session import registrar
from studio_worker.testing.scripted_studio import ScriptedStudio
from tests.faults.conftest import QUICK, Counting, ours, picture, result_of, words

DECISION = "approved"

async def until(ready):
    async with asyncio.timeout(20):
        while not ready():
            await asyncio.sleep(0.005)

async def begin(studio, worker):
    await studio.welcomed()
    await until(lambda: worker.readiness().is_ready)

def fill(disk):
    with open(disk / "ballast", "wb", buffering=0) as file:
        for size in (1024 * 1024, 1024):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass

async def main(disk):
    disk.mkdir(exist_ok=True)
    set_up("debug", stream=open(disk / "log", "a"))
    # The first look finds that all is well, and there is no second one: what is told comes from what failed.
    readiness.DISK_LOOK_SECS, readiness.DISK_AGE_SECS = 3600.0, 3600.0
    said = {}
    engine = Counting()
    async with ScriptedStudio() as studio:
        studio.decision = DECISION
        studio.extensions = ("health",)
        config = Config(
            api_base_url=studio.url, state_dir=disk / "state", models_root=disk / "models",
            register_poll_secs=0.05, reconnect_base_secs=0.02,
            disabled_engines=("llama", "onnx", "piper", "sdcpp", "synthetic", "whisper"),
        )
        async with Worker(config, engines=[engine], timings=QUICK) as worker:
            await begin(studio, worker)
            await play(disk, studio, engine, worker, said)
            said |= {"runs": dict(engine.runs), "sessions": len(studio.sessions), "violations": studio.violations}
            said["fails"] = len(studio.of_type("fail"))
            await worker.abandon()
    print(json.dumps(said))

async def look(studio, worker, said):
    said["trouble"] = worker.status()["trouble"]
    said["readiness"] = worker.status()["readiness"]
    seen = len(studio.of_type("heartbeat"))
    beat = await studio.frame("heartbeat", nth=seen + 1)
    said["autoEnabled"], said["health"] = beat["capabilities"]["autoEnabled"], beat["health"]
    await studio.offer(words("job-2"))
    reject = await studio.frame("reject", job_id="job-2")
    said["reject"] = [reject["code"], reject["reason"]]

async def go_on(studio, engine, worker):
    await until(lambda: worker.readiness().is_ready)
    engine.behave = result_of
    for job in (picture("job-3"), words("job-4")):
        await studio.offer(job)
        await studio.until(lambda: job["jobId"] in studio.done, what=job["jobId"])
"""

FULL = """
async def play(disk, studio, engine, worker, said):
    studio.upload_answers.always = 503
    engine.behave = lambda job: (fill(disk), result_of(job))[1]
    await studio.offer(picture("job-1", width=128, height=128))
    await until(lambda: worker.status()["trouble"])
    await look(studio, worker, said)
    studio.upload_answers.always = None
    await studio.until(lambda: "job-1" in studio.done, what="the result that memory held")
    written = (disk / "log").stat().st_size
    (disk / "ballast").unlink()
    await go_on(studio, engine, worker)
    said["logged after"] = (disk / "log").read_bytes()[written:].count(b"job_id=job-4")
"""

READ_ONLY = """
async def play(disk, studio, engine, worker, said):
    studio.upload_answers.always = 503
    state = str(disk / "state")

    def seal(job):
        subprocess.run(["mount", "--bind", state, state], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
        return result_of(job)

    engine.behave = seal
    await studio.offer(picture("job-1"))
    await until(lambda: worker.status()["trouble"])
    await look(studio, worker, said)
    studio.upload_answers.always = None
    await studio.until(lambda: "job-1" in studio.done, what="the result that memory held")
    subprocess.run(["umount", state], check=True)
    await go_on(studio, engine, worker)
"""


FETCHED = """
async def play(disk, studio, engine, worker, said):
    # A quota: the disk says that it has room, and refuses.
    downloads.shutil = SimpleNamespace(disk_usage=lambda folder: SimpleNamespace(free=2**40))
    studio.blobs["big"] = b"GGUF" + bytes(80 * 1024 * 1024)
    url = studio.blob_url("big")
    claim = {
        "a download": words("job-1", files=[{"role": "model", "url": url, "filename": "big.gguf"}]),
        "an input": ours({"kind": "audio_stt", "inputUrl": url}, "job-1"),
    }[sys.argv[2]]
    await studio.offer(claim)
    fail = await studio.frame("fail", job_id="job-1")
    said["fail"] = [fail["error"], fail["retryable"]]
    for part in [*(disk / "models").rglob("*.part"), *(disk / "models").rglob("*big*")]:
        part.unlink(missing_ok=True)
    await go_on(studio, engine, worker)
"""

CREDENTIALS = """
DECISION = "pending"

async def begin(studio, worker):
    await until(lambda: studio.requests)

async def play(disk, studio, engine, worker, said):
    registrar.SAVE_AGAIN_SECS = 0.05
    file = disk / "state" / "credentials.json"
    await until(lambda: file.exists() and json.loads(file.read_text()).get("registration_request_id"))
    fill(disk)
    studio.decision = "approved"
    await studio.welcomed()
    said["credentials"] = [json.loads(file.read_text()).get("auth_token")]
    (disk / "ballast").unlink()
    await until(lambda: json.loads(file.read_text()).get("auth_token"))
    said["credentials"].append(json.loads(file.read_text())["auth_token"] == studio.token)
    await go_on(studio, engine, worker)
"""


async def played(scene: str, tmp_path: Path, *more: str) -> dict[str, Any]:
    """What a worker on a small disk said by the end of a scene."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"{STAGE}\n{scene}\nasyncio.run(main(Path(sys.argv[1])))"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", str(disk), sys.executable, script, *more),
        cwd=Path(__file__).parents[2],
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    print(err.decode())
    return dict(json.loads(out))


@pytest.mark.parametrize(
    ("scene", "code", "words"), [(FULL, "disk_full", "make room"), (READ_ONLY, "state_folder", "")]
)
async def test_a_disk_that_takes_nothing_pauses_the_worker_and_costs_no_result(
    tmp_path: Path, scene: str, code: str, words: str
) -> None:
    said = await played(scene, tmp_path)

    assert said["trouble"] == code
    assert (said["readiness"]["ready"], said["readiness"]["code"]) == (False, code)
    assert words in said["readiness"]["detail"]
    # Another write may have failed by the time of the heartbeat, in words of its own.
    assert {**said["health"], "detail": ""} == {**said["readiness"], "detail": ""}
    assert said["reject"][0] == "paused"
    assert said["reject"][1].startswith(code)
    assert said["autoEnabled"] is False
    assert said["runs"] == {"job-1": 1, "job-3": 1, "job-4": 1}
    assert (said["sessions"], said["violations"], said["fails"]) == (1, [], 0)
    # A log that lies on the same disk has a gap, and no more.
    assert said.get("logged after", 1) > 0


@pytest.mark.parametrize("what", ["a download", "an input"])
async def test_a_disk_that_fills_up_under_what_is_fetched_costs_that_job_and_is_named(
    tmp_path: Path, what: str
) -> None:
    said = await played(FETCHED, tmp_path, what)

    error, is_retryable = said["fail"]
    assert "No space left on device" in error
    assert is_retryable is True
    assert said["runs"] == {"job-3": 1, "job-4": 1}
    assert (said["sessions"], said["violations"]) == (1, [])


async def test_a_token_that_a_full_disk_refuses_is_used_and_written_once_there_is_room(tmp_path: Path) -> None:
    said = await played(CREDENTIALS, tmp_path)

    assert said["credentials"] == [None, True]
    assert said["runs"] == {"job-3": 1, "job-4": 1}
    assert (said["sessions"], said["violations"]) == (1, [])


START = """
import asyncio, json, os, signal, sys
from asyncio.subprocess import PIPE
from pathlib import Path
from studio_worker.testing.claims import image_claim
from studio_worker.testing.scripted_studio import ScriptedStudio

def fill(disk):
    with open(disk / "ballast", "wb", buffering=0) as file:
        for size in (1024 * 1024, 1024, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass

async def live(disk, url):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "studio_worker", "run", stderr=PIPE,
        env={**os.environ, "HOME": str(disk), "XDG_CONFIG_HOME": str(disk / "config"),
             "XDG_STATE_HOME": str(disk / "state"), "STUDIO_WORKER_API_BASE_URL": url,
             "STUDIO_WORKER_LOCAL_API_PORT": "0", "STUDIO_WORKER_RECONNECT_BASE_SECS": "0.02",
             "STUDIO_WORKER_REGISTER_POLL_SECS": "0.05", "STUDIO_WORKER_DRAIN_TIMEOUT_SECS": "1",
             "STUDIO_WORKER_DISABLED_ENGINES": "llama,onnx,piper,sdcpp,whisper"},
    )

async def main(disk, how):
    said = {}
    async with ScriptedStudio() as studio:
        studio.upload_answers.always = 503
        first = await live(disk, studio.url)
        await studio.welcomed()
        await studio.offer(image_claim("job-1"))
        await studio.until(lambda: len(studio.uploads) > 0, what="an upload")
        first.send_signal(signal.SIGTERM if how == "stopped" else signal.SIGKILL)
        await first.communicate()
        if how == "robbed":
            for file in disk.glob("state/*/spool/*"):
                file.unlink()
        fill(disk)
        studio.upload_answers.always = None
        second = await live(disk, studio.url)
        if how == "stopped":
            said["second"] = [(await second.communicate())[1].decode().splitlines()[-1], second.returncode]
            (disk / "ballast").unlink()
            second = await live(disk, studio.url)
        await studio.welcomed(2)
        if how == "stopped":
            # Its first tries are over: it waits to be asked for.
            await studio.offer(image_claim("job-1"))
        if how != "robbed":
            await studio.until(lambda: "job-1" in studio.done, what="the kept result")
        (disk / "ballast").unlink(missing_ok=True)
        second.send_signal(signal.SIGTERM)
        said["said"] = (await second.communicate())[1].decode()
        said["code"] = second.returncode
        said["accepts"] = len(studio.of_type("accept"))
    print(json.dumps(said))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def started_on_a_full_disk(tmp_path: Path, how: str) -> dict[str, Any]:
    disk = tmp_path / "disk"
    disk.mkdir()
    process = await asyncio.create_subprocess_exec(
        *("unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, "sh", str(disk), sys.executable, START, how),
        cwd=Path(__file__).parents[2],
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    print(err.decode())
    return dict(json.loads(out))


async def test_a_killed_worker_starts_on_a_full_disk_and_delivers_what_it_has_kept(tmp_path: Path) -> None:
    said = await started_on_a_full_disk(tmp_path, "killed")
    assert (said["code"], said["accepts"]) == (0, 1)


async def test_a_kept_result_without_its_file_does_not_keep_a_worker_from_a_full_disk(tmp_path: Path) -> None:
    said = await started_on_a_full_disk(tmp_path, "robbed")
    assert said["code"] == 0
    assert "A kept result is damaged" in said["said"]


async def test_a_journal_that_a_full_disk_has_no_room_to_open_is_a_reason_to_try_again_later(tmp_path: Path) -> None:
    """78 would tell a service that another try is of no use."""
    said = await started_on_a_full_disk(tmp_path, "stopped")
    sentence, code = said["second"]
    assert code == 1
    assert "its disk is full" in sentence
    assert "make room" in sentence
    assert said["code"] == 0
