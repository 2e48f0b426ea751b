"""One run of the demo at a real studio whose worker is driven by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from studio_worker.cli.demo_jobs import DemoJob
from studio_worker.cli.demo_run import DemoRun
from studio_worker.cli.studio_admin import StudioAdmin, StudioSaysNo
from studio_worker.studio.server import StudioServer
from studio_worker.studio.timings import Limits
from studio_worker.testing.raw_worker import PNG, Admin, RawWorker, image_job, llm_job


class Seen:
    """A display that keeps what it was shown."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []

    def show(self, job: Any) -> None:
        state = (str(job["jobId"]), str(job["state"]))
        if state not in self.states:
            self.states.append(state)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[StudioServer]:
    async with StudioServer(tmp_path / "studio", port=0, limits=Limits(max_attempts=1)) as studio:
        yield studio


@pytest.fixture
async def worker(studio: StudioServer) -> AsyncIterator[RawWorker]:
    async with aiohttp.ClientSession() as http:
        admin = Admin(http, studio.url, studio.admin_token)
        worker = await RawWorker.admitted(http, studio.url, admin)
        yield await worker.connect()
        await worker.close()


@pytest.fixture
def run(studio: StudioServer, tmp_path: Path) -> Any:
    out = tmp_path / "out"
    out.mkdir()
    admin = StudioAdmin(studio.url, studio.admin_token)

    def make(*jobs: DemoJob, display: Any = None, timeout_secs: float = 30.0) -> DemoRun:
        return DemoRun(admin, jobs, out, display or Seen(), timeout_secs=timeout_secs)

    return make


async def answer(worker: RawWorker, result: Any) -> str:
    """Take the next offer and complete it; its id."""
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    await worker.send("completeJson", jobId=claim["jobId"], result=result, prompt="hello")
    await worker.receive("completeAck")
    return str(claim["jobId"])


def completion(text: Any) -> dict[str, Any]:
    return {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


async def test_rows_come_in_the_order_of_the_file_whatever_was_done_first(run, worker) -> None:
    playing = asyncio.create_task(run(DemoJob(llm_job("b")), DemoJob(llm_job("a"))).play())
    for _ in range(2):
        await answer(worker, completion("hi"))
    assert [row["job"] for row in await playing] == ["b", "a"]


async def test_a_text_result_is_shown_in_its_row_and_kept_whole(run, worker, tmp_path: Path) -> None:
    playing = asyncio.create_task(run(DemoJob(llm_job("words"))).play())
    await answer(worker, completion("  a lighthouse\nwarns ships  "))
    (row,) = await playing
    assert row["result"].startswith("a lighthouse")
    assert "\n" not in row["result"]
    assert (row["job"], row["kind"], row["engine"], row["state"]) == ("words", "llm", "synthetic", "done")
    assert json.loads(Path(row["file"]).read_text()) == completion("  a lighthouse\nwarns ships  ")


async def test_what_would_drive_a_terminal_is_escaped_and_long_texts_are_cut(run, worker) -> None:
    playing = asyncio.create_task(run(DemoJob(llm_job("words"))).play())
    await answer(worker, completion("\x1b[2J" + "x" * 5_000))
    (row,) = await playing
    assert "\x1b" not in row["result"]
    assert len(row["result"]) < 300


@pytest.mark.parametrize("result", [completion(None), {"choices": []}, {"choices": [{}]}, {"choices": "x"}, {"odd": 1}])
async def test_a_result_of_another_shape_is_shown_as_json(run, worker, result) -> None:
    playing = asyncio.create_task(run(DemoJob(llm_job("words"))).play())
    await answer(worker, result)
    (row,) = await playing
    assert row["state"] == "done"
    assert json.loads(row["result"]) == result


async def test_a_picture_is_written_under_its_job_and_type(run, worker, tmp_path: Path) -> None:
    playing = asyncio.create_task(run(DemoJob(image_job("level:1")), display=Seen()).play())
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    assert (await worker.upload(claim["jobId"]))[0] == 200
    (row,) = await playing
    assert row["file"] == str(tmp_path / "out" / "level_1.png")
    assert Path(row["file"]).read_bytes() == PNG
    assert row["seconds"] >= 0


async def test_a_failed_job_has_its_error_and_no_file(run, worker, tmp_path: Path) -> None:
    playing = asyncio.create_task(run(DemoJob(llm_job("bad"), note="a note")).play())
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    await worker.send("fail", jobId=claim["jobId"], error="the engine exploded", retryable=False)
    (row,) = await playing
    assert (row["state"], row["file"]) == ("failed", None)
    assert row["result"] == "a note - the engine exploded"
    assert list((tmp_path / "out").iterdir()) == []


async def test_the_note_of_a_fitted_job_fills_the_row_of_a_result_without_words(run, worker) -> None:
    playing = asyncio.create_task(run(DemoJob(image_job("cup"), note="no real engine here")).play())
    claim = await worker.offer()
    await worker.send("accept", jobId=claim["jobId"])
    await worker.upload(claim["jobId"])
    assert (await playing)[0]["result"] == "no real engine here"


async def test_a_job_that_nobody_takes_is_given_up_when_the_time_is_over(run) -> None:
    (row,) = await run(DemoJob(llm_job("waits")), timeout_secs=0.05).play()
    assert (row["state"], row["file"], row["seconds"]) == ("queued", None, None)
    assert row["result"] == "not done after 0.05 s"


async def test_the_display_sees_every_state_that_a_look_finds(run, worker) -> None:
    display = Seen()
    playing = asyncio.create_task(run(DemoJob(llm_job("words")), display=display).play())
    await answer(worker, completion("hi"))
    await playing
    assert display.states[-1] == ("words", "done")


async def test_jobs_of_others_at_the_same_studio_are_left_alone(run, worker, studio) -> None:
    display = Seen()
    admin = StudioAdmin(studio.url, studio.admin_token)
    await asyncio.to_thread(admin.add, llm_job("theirs"))
    assert await answer(worker, completion("x")) == "theirs"
    playing = asyncio.create_task(run(DemoJob(llm_job("ours")), display=display).play())
    await answer(worker, completion("hi"))
    assert [row["job"] for row in await playing] == ["ours"]
    assert {job_id for job_id, _ in display.states} == {"ours"}


async def test_an_id_that_is_taken_is_refused_with_the_way_out(run, studio) -> None:
    admin = StudioAdmin(studio.url, studio.admin_token)
    await asyncio.to_thread(admin.add, llm_job("words"))
    with pytest.raises(StudioSaysNo, match=r"job words: .*409.*--keep"):
        await run(DemoJob(llm_job("words"))).play()


async def test_a_job_that_the_studio_does_not_take_is_named(run) -> None:
    with pytest.raises(StudioSaysNo, match=r"job bad: .*400"):
        await run(DemoJob(llm_job("bad", task={"kind": "exec"}))).play()
