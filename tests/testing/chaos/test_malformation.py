"""What a worker does with a result that cannot be used: it is refused by the name of the rule, and never delivered."""

import pytest

from studio_worker import EngineError, ResultRejected
from studio_worker.testing import chaos

REFUSED = [
    ("type", "image", EngineError, "returned str, an ImageResult is needed"),
    ("type", "llm", EngineError, "returned str, an LlmResult is needed"),
    ("bytes", "image", ResultRejected, "rule: "),
    ("bytes", "audio_tts", ResultRejected, "rule: "),
    ("empty", "image", EngineError, "returned 0 bytes"),
    ("size", "image", ResultRejected, "65 x 65|65x65|size"),
    ("ext", "audio_tts", EngineError, "ext 'exe'"),
    ("outside", "image", EngineError, "outside the job's work_dir"),
    ("json", "llm", EngineError, "JSON that cannot be sent"),
    ("shape", "llm", ResultRejected, "wrong-shape"),
]


@pytest.mark.parametrize(("how", "kind", "error", "words"), REFUSED, ids=lambda value: str(value)[:12])
async def test_a_result_that_cannot_be_used_fails_its_job_which_may_be_tried_again(
    worker_with, order, how, kind, error, words
):
    async with worker_with(chaos.malformed(how=how, on_job=1)) as worker:
        with pytest.raises(error, match=words) as failure:
            await order(worker, kind)
        assert failure.value.retryable
        await order(worker, kind)


@pytest.mark.parametrize(("how", "words"), [("type", "returned str"), ("bytes", "rule: "), ("outside", "outside")])
async def test_it_is_refused_out_of_a_process_too(worker_with, order, in_folder, how, words):
    async with worker_with(chaos.in_process(in_folder, "malformed", how=how, on_job=1)) as worker:
        with pytest.raises((EngineError, ResultRejected), match=words):
            await order(worker, "image")
        await order(worker, "image")


@pytest.mark.parametrize("in_child", [False, True], ids=["thread", "process"])
async def test_a_note_that_is_no_json_is_left_out_and_the_result_stands(worker_with, order, in_folder, in_child):
    fault = chaos.in_process(in_folder, "malformed", how="meta") if in_child else chaos.malformed(how="meta")
    async with worker_with(fault) as worker:
        job = order(worker, "image")
        assert (await job).data
    assert job.meta["engine"] == "chaos"
    assert "chaos" not in job.meta


@pytest.mark.parametrize("in_child", [False, True], ids=["thread", "process"])
async def test_a_flood_of_progress_is_thinned_and_the_job_done(worker_with, order, in_folder, in_child):
    fault = chaos.in_process(in_folder, "malformed", how="progress") if in_child else chaos.malformed(how="progress")
    async with worker_with(fault) as worker:
        job = order(worker)
        seen = [progress async for progress in job]
        await job
    assert len(seen) < 1_000


@pytest.mark.parametrize(
    ("how", "kind"), [("size", "llm"), ("json", "image"), ("shape", "audio_tts"), ("bytes", "llm")]
)
async def test_a_result_of_another_kind_is_not_spoiled_in_silence(worker_with, order, how, kind):
    async with worker_with(chaos.malformed(how=how)) as worker:
        with pytest.raises(EngineError, match=rf"malformed\('{how}'\) cannot spoil .* kind {kind}") as failure:
            await order(worker, kind)
        assert not failure.value.retryable
