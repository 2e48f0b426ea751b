"""Faults F-69, F-90 to F-92 and F-100 to F-107: what engines, operators and the machine do to a running worker."""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import shutil
import signal
import statistics
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from studio_worker import Worker
from studio_worker.config import Config
from studio_worker.engines.base import Engine, EngineCapabilities, EngineJob, ImageResult, LlmResult
from studio_worker.errors import AlreadyRunning
from studio_worker.testing.claims import image_claim
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.kinds import TaskKind

from .conftest import QUICK, Site, Start, picture, result_of, words


class Threaded(Engine):
    """Runs `behave` in a thread."""

    name = "threaded"
    sources = ("threaded",)
    isolation = "thread"

    def __init__(self, behave: Callable[[EngineJob], Any] = result_of) -> None:
        self.behave = behave

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.LLM: ["threaded"], TaskKind.IMAGE: ["threaded"]})

    def run(self, job: EngineJob) -> Any:
        return self.behave(job)


def threaded(job_id: str) -> dict[str, Any]:
    return words(job_id, engine="threaded")


def longest_gap(studio: ScriptedStudio, since: int = 0) -> float:
    """Seconds between two heartbeats."""
    beats = studio.of_type("heartbeat")[since:]
    return max(later.at - earlier.at for earlier, later in itertools.pairwise(beats))


async def test_what_an_engine_says_after_its_cancellation_is_heard_by_nobody(
    start: Start, studio: ScriptedStudio
) -> None:
    running, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def deaf(job: EngineJob) -> Any:
        running.set()
        go_on.wait(10)
        job.progress(9, 9, stage="too late")
        over.set()
        return result_of(job)

    studio.extensions = ("cancel", "progress")
    async with start(engines=(Threaded(deaf),)) as site:
        await site.studio.offer(threaded("job-1"))
        await asyncio.to_thread(running.wait, 10)
        await site.studio.session.cancel("job-1")
        fail = await site.studio.frame("fail", job_id="job-1")
        go_on.set()
        await asyncio.to_thread(over.wait, 10)
        await site.until(lambda: not site.worker.status()["busy"], "an idle worker")
        # The seat is free once the engine's thread has come back, a moment after the engine's last word.
        await site.studio.heartbeat()
        await site.studio.heartbeat()
        await site.studio.offer(words("job-2"))
        await site.settled("job-2")

        late = [frame for frame in site.studio.frames if frame.get("stage") == "too late"]
    assert fail["error"].startswith("cancelled: ")
    assert late == []
    assert site.studio.of_type("completeJson", job_id="job-1") == []
    assert site.studio.violations == []


async def test_progress_after_the_result_is_dropped(start: Start, studio: ScriptedStudio) -> None:
    kept: list[EngineJob] = []

    def chatty(job: EngineJob) -> Any:
        kept.append(job)
        return result_of(job)

    studio.extensions = ("progress",)
    async with start(engines=(Threaded(chatty),)) as site:
        await site.studio.offer(threaded("job-1"))
        await site.settled("job-1")
        kept[0].progress(1, 1, stage="after the end")
        await site.studio.heartbeat()
        await site.studio.heartbeat()

        assert [frame for frame in site.studio.frames if frame.get("stage") == "after the end"] == []
        assert site.studio.violations == []


def black(job: EngineJob) -> bytes:
    """A picture of the asked size with nothing on it: what a model paints once its numbers have run away."""
    out = io.BytesIO()
    Image.new("RGB", (job.task.width, job.task.height)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(lambda job: ImageResult(job.work_dir / "none.png", "png"), id="a file that is not there"),
        pytest.param(lambda job: ImageResult(b"", "png"), id="no bytes"),
        pytest.param(lambda job: ImageResult(Path("/etc/passwd"), "png"), id="a file of somebody else"),
        pytest.param(lambda job: ImageResult(b"\x89PNG\r\n\x1a\n" + b"x" * 99, "png"), id="a broken picture"),
        pytest.param(lambda job: ImageResult(b"<html>no</html>", "png"), id="a web page"),
        pytest.param(lambda job: ImageResult(black(job), "png"), id="a picture that is all black"),
        pytest.param(lambda job: LlmResult({}), id="another kind"),
        pytest.param(lambda job: None, id="nothing"),
    ],
)
async def test_a_result_that_is_none_fails_its_job_and_is_never_uploaded(
    site: Site, result: Callable[[EngineJob], Any]
) -> None:
    site.engine.behave = result
    await site.studio.offer(picture("job-1"))
    fail = await site.studio.frame("fail", job_id="job-1")
    site.engine.behave = result_of
    await site.studio.offer(picture("job-2"))
    await site.settled("job-2")

    assert fail["error"]
    assert [upload.job_id for upload in site.studio.uploads] == ["job-2"]


async def test_threads_that_burn_every_core_miss_no_heartbeat(start: Start) -> None:
    end = threading.Event()

    def burn() -> None:
        while not end.is_set():
            sum(range(1_000))

    def burning(job: EngineJob) -> Any:
        burn()
        return result_of(job)

    async with start(engines=(Threaded(burning),)) as site:
        await site.studio.welcomed()
        others = [threading.Thread(target=burn) for _ in range(2 * (os.cpu_count() or 1))]
        await site.studio.offer(threaded("job-1"))
        await site.studio.frame("accept", job_id="job-1")
        seen = len(site.studio.of_type("heartbeat"))
        for other in others:
            other.start()
        await site.studio.frame("heartbeat", nth=seen + 20)
        gap = longest_gap(site.studio, seen)
        end.set()
        for other in others:
            await asyncio.to_thread(other.join)
        await site.settled("job-1")

    # The real pace is a hundred times slower, and the studio's patience 30 s.
    assert gap < 3.0
    assert len(site.studio.sessions) == 1


async def test_a_loop_that_was_blocked_past_every_bound_keeps_its_session(start: Start) -> None:
    # The second look comes a quarter of the watch later: time for a busy machine's studio to answer.
    bounds = replace(QUICK, ack_secs=0.6, silence_secs=0.8, watch_secs=0.6)
    async with start(timings=bounds) as site:
        await site.studio.welcomed()
        await site.studio.heartbeat()
        site.engine.behave = lambda job: (time.sleep(1.5), result_of(job))[1]
        await site.studio.offer(words("job-1"))
        await site.settled("job-1")
        await site.studio.heartbeat()

    assert len(site.studio.sessions) == 1
    assert site.engine.runs == {"job-1": 1}


async def test_a_folder_of_a_dead_worker_or_of_a_pid_in_use_again_is_taken_over(
    settings: Callable[..., Config],
) -> None:
    config = settings(disabled_engines=(*settings().disabled_engines, "synthetic"))
    for stale in ("999999999", str(os.getpid()), "1", "no number", ""):
        config.state_path.mkdir(parents=True, exist_ok=True)
        async with Worker(config) as worker:
            files = [path for path in config.state_path.iterdir() if path.is_file()]
            with pytest.raises(AlreadyRunning, match=str(os.getpid())):
                async with Worker(config):
                    raise AssertionError("two workers share a folder")
            await worker.drain()
        for path in files:
            if "pid" in path.name:
                path.write_text(stale)


async def test_a_cancelled_job_task_frees_its_seat_and_the_worker_goes_on(site: Site) -> None:
    site.engine.open.clear()
    await site.studio.offer(words("job-1"))
    await site.engine.entered.get()
    victim = next(task for task in asyncio.all_tasks() if task.get_name() == "job-job-1")
    victim.cancel()
    await site.until(lambda: not site.worker.status()["busy"], "a free seat")
    site.engine.open.set()
    await site.studio.offer(words("job-2"))
    await site.settled("job-2")

    assert site.engine.runs == {"job-1": 1, "job-2": 1}


async def test_a_state_folder_that_is_deleted_costs_a_job_at_most_and_pauses_the_worker(site: Site) -> None:
    state = Path(site.worker.status()["stateDir"])
    await site.studio.offer(picture("job-1"))
    await site.settled("job-1")
    shutil.rmtree(state)
    await site.studio.offer(picture("job-2"))
    # Where the row of the first job was still to be written, the worker knows already.
    await site.until(
        lambda: [*site.studio.of_type("fail", job_id="job-2"), *site.studio.of_type("reject", job_id="job-2")],
        "an answer",
    )
    await site.until(lambda: site.worker.readiness().code == "state_folder", "the news")
    await site.studio.offer(words("job-3"))
    rejected = await site.studio.frame("reject", job_id="job-3")
    state.mkdir(mode=0o700)
    await site.until(lambda: site.worker.readiness().is_ready, "a worker that is well again")
    for job in (picture("job-4"), words("job-5")):
        await site.studio.offer(job)
        await site.settled(job["jobId"])

    assert all(fail["retryable"] for fail in site.studio.of_type("fail"))
    assert rejected["code"] == "paused"
    assert rejected["reason"].startswith("state_folder")
    assert len(site.studio.sessions) == 1


async def test_a_models_folder_that_vanishes_costs_jobs_until_it_is_back(start: Start, tmp_path: Path) -> None:
    """F-64: a disk that was unplugged."""
    root, away = tmp_path / "models", tmp_path / "away"
    root.mkdir()
    (root / "a.bin").write_bytes(b"weights")
    file = {"role": "model", "url": "https://files.example/a.bin", "filename": "a.bin"}
    async with start(engines=(Threaded(),)) as site:
        await site.studio.offer(words("job-1", engine="threaded", files=[file]))
        await site.settled("job-1")
        root.rename(away)
        await site.studio.offer(words("job-2", engine="threaded", files=[file]))
        failed = await site.studio.frame("fail", job_id="job-2")
        away.rename(root)
        await site.studio.offer(words("job-3", engine="threaded", files=[file]))
        await site.settled("job-3")

    assert failed["retryable"]
    assert f"the models folder {root} is gone" in failed["error"]


async def test_a_thousand_pauses_at_a_studio_change_nothing(site: Site) -> None:
    tasks = len(asyncio.all_tasks())
    for _ in range(1_000):
        site.worker.pause()
        site.worker.resume()
        await asyncio.sleep(0)
    await site.studio.offer(words("job-1"))
    await site.settled("job-1")
    beat = await site.studio.heartbeat()

    assert beat["capabilities"]["autoEnabled"] is True
    assert len(site.studio.sessions) == 1
    assert len(asyncio.all_tasks()) <= tasks + 2


async def test_a_hundred_starts_and_stops_at_a_studio_leave_nothing_open(
    start: Start, record_property: Callable[[str, object], None]
) -> None:
    def threads() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if not each.name.startswith("asyncio_")}

    drains: list[float] = []
    async with start() as site:
        await site.studio.welcomed()
    await site.studio.gone(1)
    descriptors, before = len(os.listdir("/proc/self/fd")), threads()
    for number in range(99):
        # A proxy may get the port of an earlier one, and credentials are kept by address.
        async with start(state=f"state-{number}") as site:
            await site.studio.welcomed(number + 2)
            began = time.monotonic()
            await site.worker.drain()
            drains.append(time.monotonic() - began)
    await site.studio.gone(100)
    record_property("drain of an idle worker, median of 99", f"{statistics.median(drains) * 1_000:.0f} ms")
    for thread in threads() - before:
        await asyncio.to_thread(thread.join, 10)

    # The far ends of the last connections may be on their way out.
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
    assert threads() <= before
    assert {session.close_code for session in site.studio.sessions} == {1000}


CROWDED = """
import asyncio, resource, signal, sys
from pathlib import Path
from studio_worker import Config, Worker
from studio_worker.log import set_up
from studio_worker.session.timings import Timings

async def main(url, home):
    set_up("info")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    config = Config(
        api_base_url=url, state_dir=Path(home) / "state", models_root=Path(home) / "models",
        register_poll_secs=0.05, reconnect_base_secs=0.02,
        disabled_engines=("llama", "onnx", "piper", "sdcpp", "whisper"),
    )
    held = []

    def exhaust():
        try:
            while True:
                held.append(open("/dev/null"))
        except OSError:
            print("held", flush=True)

    def give_back():
        while held:
            held.pop().close()
        print("free", flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, exhaust)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, give_back)
    async with Worker(config, timings=Timings(heartbeat_secs=0.1)) as worker:
        await worker.run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_worker_without_a_free_descriptor_keeps_its_session_and_loses_no_job(
    studio: ScriptedStudio, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CROWDED, studio.url, str(tmp_path), stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    try:
        await studio.welcomed()
        process.send_signal(signal.SIGUSR1)
        assert await process.stdout.readline() == b"held\n"
        assert psutil.Process(process.pid).num_fds() == 64
        for job_id in ("job-1", "job-2"):
            await studio.offer(image_claim(job_id))
            await studio.frame("accept", job_id=job_id)
            await studio.heartbeat()
        process.send_signal(signal.SIGUSR2)
        assert await process.stdout.readline() == b"free\n"
        for job_id in ("job-1", "job-2"):
            await studio.until(
                lambda job_id=job_id: job_id in studio.done or studio.of_type("fail", job_id=job_id), what=job_id
            )
        await studio.offer(image_claim("job-3"))
        await studio.until(lambda: "job-3" in studio.done, what="a job after the shortage")

        assert len(studio.sessions) == 1
        for fail in studio.of_type("fail"):
            assert fail["retryable"] is True
            assert "open files" in fail["error"]
    finally:
        process.kill()
        _, said = await process.communicate()
        print(said.decode())
