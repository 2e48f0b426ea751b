"""A worker without a studio, as an embedder uses it: jobs of this process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from studio_worker import (
    AudioResult,
    BadInput,
    EngineError,
    ImageResult,
    LlmResult,
    OutOfMemory,
    TranscriptResult,
    UnsupportedTask,
    VideoResult,
    Worker,
)
from studio_worker.errors import BadClaim, FetchRefused, JobCancelled, ModelUnavailable, NoEngine, ResultRejected
from studio_worker.events import JobAccepted, JobDelivered, JobFailed
from studio_worker.testing.claims import CLAIM_BUILDERS, silence_url
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import parse_model_source
from studio_worker.wire.results import sniff_ext
from studio_worker.wire.tasks import parse_task

RESULTS = {
    TaskKind.IMAGE: (ImageResult, "png"),
    TaskKind.AUDIO_TTS: (AudioResult, "wav"),
    TaskKind.VIDEO: (VideoResult, "gif"),
    TaskKind.LLM: (LlmResult, None),
    TaskKind.AUDIO_STT: (TranscriptResult, None),
}
SYNTHETIC = parse_model_source({"engine": "synthetic", "files": []})


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize("source", [None, SYNTHETIC], ids=["by model", "by source"])
async def test_a_job_of_each_kind_gives_its_result(settings, kind, source):
    expected, ext = RESULTS[kind]
    claim = CLAIM_BUILDERS[kind]()
    async with Worker(settings()) as worker:
        result = await worker.submit(parse_task(claim["task"]), model=claim["model"], source=source)
    assert type(result) is expected
    if ext is not None:
        assert isinstance(result.data, bytes)
        assert sniff_ext(result.data[:64]) == result.ext == ext


async def test_jobs_queue_for_the_one_seat_in_the_order_of_their_submission(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        jobs = [worker.submit(words(text), model="gate-llm") for text in ("one", "two", "three")]
        assert (await soon(gate.entered.get())).task.messages[0].content == "one"
        assert len(worker.status()["activeJobs"]) == 1
        assert gate.entered.empty()
        gate.opened.set()
        results = await asyncio.gather(*jobs)
    texts = [result.json["choices"][0]["message"]["content"] for result in results]
    assert texts == ["reply to one", "reply to two", "reply to three"]
    assert [gate.entered.get_nowait().id for _ in range(2)] == [jobs[1].id, jobs[2].id]


async def test_as_many_jobs_run_at_once_as_the_settings_allow(settings, gate, words, soon):
    async with Worker(settings(max_concurrent_jobs=2), engines=[gate]) as worker:
        jobs = [worker.submit(words(), model="gate-llm") for _ in range(3)]
        first = {(await soon(gate.entered.get())).id, (await soon(gate.entered.get())).id}
        assert first == {jobs[0].id, jobs[1].id}
        assert gate.entered.empty()
        gate.opened.set()
        await asyncio.gather(*jobs)


async def test_a_jobs_progress_is_followed_by_iterating_over_it(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words(), model="gate-llm")
        seen = await soon(anext(job))
        assert (seen.job_id, seen.step, seen.total, seen.stage) == (job.id, 1, 2, "wait")
        gate.opened.set()
        assert all([each.job_id == job.id async for each in job])
        assert isinstance(await job, LlmResult)


async def test_a_running_job_is_cancelled_by_its_caller(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words(), model="gate-llm")
        await soon(gate.entered.get())
        assert job.cancel("enough")
        with pytest.raises(JobCancelled, match="cancelled: enough") as caught:
            await soon(job)
        assert caught.value.retryable is False
        assert not job.cancel()


async def test_a_job_that_waits_for_its_seat_is_cancelled_and_never_runs(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        running, waiting = (worker.submit(words(), model="gate-llm") for _ in range(2))
        await soon(gate.entered.get())
        assert waiting.cancel()
        with pytest.raises(JobCancelled):
            await soon(waiting)
        gate.opened.set()
        await soon(running)
        assert gate.entered.empty()
        assert not running.cancel()


async def test_a_caller_that_stops_waiting_does_not_end_the_job(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words(), model="gate-llm")

        async def wait() -> object:
            return await job

        waiter = asyncio.create_task(wait())
        await soon(gate.entered.get())
        waiter.cancel()
        await asyncio.wait([waiter])
        gate.opened.set()
        assert await soon(job) == await soon(job)


@pytest.mark.parametrize(
    ("raised", "retryable"),
    [
        (BadInput("the picture is empty"), False),
        (UnsupportedTask("no such voice"), False),
        (EngineError("the driver hung", retryable=True), True),
        (EngineError("the model is broken", retryable=False), False),
        (OutOfMemory("8 GB are needed"), True),
    ],
)
async def test_what_an_engine_raises_is_raised_by_awaiting_the_job(settings, gate, words, soon, raised, retryable):
    def fail(_job):
        raise raised

    gate.opened.set()
    gate.behave = fail
    async with Worker(settings(), engines=[gate]) as worker:
        with pytest.raises(type(raised), match=str(raised)) as caught:
            await soon(worker.submit(words(), model="gate-llm"))
    assert caught.value.retryable is retryable


async def test_an_engines_own_error_is_an_engine_error_that_names_the_engine(settings, gate, words, soon):
    gate.opened.set()
    gate.behave = lambda job: {}["no such key"]
    async with Worker(settings(), engines=[gate]) as worker:
        with pytest.raises(EngineError, match="gate"):
            await soon(worker.submit(words(), model="gate-llm"))


async def test_a_result_of_another_kind_is_refused(settings, gate, words, soon):
    gate.opened.set()
    gate.behave = lambda job: ImageResult(b"x", "png")
    async with Worker(settings(), engines=[gate]) as worker:
        with pytest.raises((EngineError, ResultRejected), match="engine"):
            await soon(worker.submit(words(), model="gate-llm"))


async def test_a_model_that_nobody_serves_is_no_engine_and_synthetic_does_not_step_in(settings, words):
    async with Worker(settings()) as worker:
        with pytest.raises(NoEngine, match="talker"):
            await worker.submit(words(), model="talker")


async def test_a_source_that_nobody_serves_names_the_package_to_install(settings, words):
    source = parse_model_source({"engine": "parakeet", "files": []})
    async with Worker(settings()) as worker:
        with pytest.raises(NoEngine, match="pip install studio-worker-parakeet"):
            await worker.submit(words(), model="synthetic-llm", source=source)


async def test_a_missing_model_file_is_named_with_its_folder(settings, words, tmp_path: Path):
    files = [{"role": "model", "url": "https://models.invalid/cup.bin", "filename": "cup.bin"}]
    source = parse_model_source({"engine": "synthetic", "files": files})
    async with Worker(settings(models_offline=True)) as worker:
        with pytest.raises(ModelUnavailable, match=r"cup\.bin") as caught:
            await worker.submit(words(), model="synthetic-llm", source=source)
    assert str(tmp_path / "models") in str(caught.value)


async def test_a_source_whose_defaults_break_a_bound_is_a_bad_claim(settings):
    source = parse_model_source({"engine": "synthetic", "cliDefaults": {"width": 16_384, "height": 16_384}})
    async with Worker(settings()) as worker:
        with pytest.raises(BadClaim, match="width"):
            await worker.submit(parse_task({"kind": "image", "prompt": "a cup"}), model="m", source=source)


async def test_an_input_is_taken_from_a_data_url_and_refused_at_a_private_address(settings):
    def listen(url: str):
        return worker.submit(parse_task({"kind": "audio_stt", "inputUrl": url}), model="synthetic-stt")

    async with Worker(settings()) as worker:
        assert (await listen(silence_url())).json["duration"] == 0.25
        with pytest.raises(FetchRefused) as caught:
            await listen("https://127.0.0.1:1/a.wav")
    assert caught.value.rule == "private-address"


async def test_a_failed_job_that_nobody_waits_for_troubles_nobody(settings, words):
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    async with Worker(settings()) as worker:
        worker.submit(words(), model="talker")
        await worker.submit(words(), model="synthetic-llm")
    assert troubles == []


async def test_local_jobs_go_on_while_the_worker_is_paused(settings, words):
    async with Worker(settings()) as worker:
        worker.pause()
        assert worker.status()["paused"] is True
        assert isinstance(await worker.submit(words(), model="synthetic-llm"), LlmResult)


async def test_local_jobs_are_told_as_events_that_name_them(settings, words):
    async with Worker(settings()) as worker:
        events = worker.events()
        good = worker.submit(words(), model="synthetic-llm")
        await good
        bad = worker.submit(words("x"), model="synthetic-llm", source=parse_model_source({"engine": "nobody"}))
        with pytest.raises(NoEngine):
            await bad
    told = [event async for event in events if not hasattr(event, "step")]
    assert told[0] == JobAccepted(good.id, TaskKind.LLM, "synthetic-llm", "synthetic", "local")
    assert isinstance(told[1], JobDelivered)
    assert told[1].job_id == good.id
    assert all(isinstance(event, JobFailed) and event.job_id == bad.id for event in told[2:])


async def test_nothing_is_sent_anywhere_without_a_studio(settings):
    async with Worker(settings()) as worker:
        status = worker.status()
    assert status["registration"] == {"state": "local_only"}
    assert status["session"] == {"state": "local_only"}
    assert not (settings().state_path / "credentials.json").exists()


@pytest.mark.parametrize("call", ["pause", "resume"])
async def test_a_worker_that_is_not_started_says_how_to_start_it(settings, call):
    with pytest.raises(RuntimeError, match="async with Worker"):
        getattr(Worker(settings()), call)()


async def test_a_worker_that_is_not_started_takes_no_jobs_and_does_not_run(settings, words):
    worker = Worker(settings())
    with pytest.raises(RuntimeError, match="async with Worker"):
        worker.submit(words(), model="synthetic-llm")
    with pytest.raises(RuntimeError, match="async with Worker"):
        worker.keep_private("127.0.0.1", 1)
    with pytest.raises(RuntimeError, match="async with Worker"):
        await worker.run()
    with pytest.raises(RuntimeError, match="async with Worker"):
        await worker.drain()


async def test_a_job_for_a_worker_that_has_ended_is_cancelled_as_retryable(settings, words):
    async with Worker(settings()) as worker:
        pass
    with pytest.raises(JobCancelled) as caught:
        await worker.submit(words(), model="synthetic-llm")
    assert caught.value.retryable is True
