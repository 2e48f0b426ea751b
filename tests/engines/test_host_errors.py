"""What engines raise and return, seen through the host."""

import asyncio
import os

import pytest

from studio_worker.engines.base import ImageResult, LlmResult
from studio_worker.errors import BadInput, Cancelled, EngineError, JobCancelled, OutOfMemory, UnsupportedTask
from studio_worker.wire.kinds import TaskKind

from .runs import BOTH, in_thread, on_loop, raising, within


async def fails(bench, engine, **options) -> EngineError:
    host = bench.host(engine)
    with pytest.raises((EngineError, UnsupportedTask, BadInput, JobCancelled)) as caught:
        await within(host.run(bench.call(host, engine.name, **options)))
    return caught.value


# what an engine raises


@BOTH
@pytest.mark.parametrize(
    "error",
    [UnsupportedTask("no masks here"), BadInput("not a wav"), EngineError("weights are damaged", retryable=False)],
)
async def test_an_engines_own_errors_keep_their_kind_and_their_words(way, error, bench, toy):
    caught = await fails(bench, toy(way(raising(error))))
    assert type(caught) is type(error)
    assert (str(caught), caught.retryable) == (str(error), error.retryable)


@BOTH
async def test_a_file_of_the_job_is_told_by_its_name_and_not_by_where_it_lies(way, bench, toy):
    def run(job):
        raise BadInput(f"{job.inputs['audio']} and {job.work_dir / 'parts' / '1'} are damaged")

    caught = await fails(bench, toy(way(run)), inputs={"audio": bench.folder / "inputs" / "memo.wav"})
    assert str(caught).replace(os.sep, "/") == "memo.wav and parts/1 are damaged"


@BOTH
@pytest.mark.parametrize("error", [MemoryError(), OutOfMemory("8 GB are not enough")])
async def test_running_out_of_memory_can_be_tried_again(way, error, bench, toy):
    caught = await fails(bench, toy(way(raising(error))))
    assert isinstance(caught, OutOfMemory)
    assert caught.retryable


async def test_a_librarys_own_out_of_memory_error_is_known_by_its_name(bench, toy):
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    assert isinstance(await fails(bench, toy(in_thread(raising(kind("CUDA out of memory"))))), OutOfMemory)


@BOTH
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("odd size"), "ValueError: odd size"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (SystemExit(0), "SystemExit: 0"),
        (StopIteration(3), "StopIteration: 3"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (asyncio.CancelledError(), "CancelledError"),
        (TimeoutError("pipe"), "TimeoutError: pipe"),
        (JobCancelled("me"), "JobCancelled: cancelled: me"),
        (RecursionError("deep"), "RecursionError: deep"),
        (ExceptionGroup("two", [ValueError("x")]), "ExceptionGroup: two (1 sub-exception)"),
        (ValueError("ok\n2026-01-01 | ERROR | \x1b[2J"), "ValueError: ok\\n2026-01-01 | ERROR | \\x1b[2J"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_anything_else_is_a_retryable_engine_error_with_its_type_and_words(way, error, words, bench, toy):
    caught = await fails(bench, toy(way(raising(error))))
    assert type(caught) is EngineError
    # `async def` turns StopIteration into a RuntimeError before anybody sees it.
    if not (way is on_loop and isinstance(error, (StopIteration, StopAsyncIteration))):
        assert str(caught) == f"engine 'toy' failed: {words}"
    assert caught.retryable


async def test_a_keyboard_interrupt_of_a_thread_engine_ends_its_job_alone(bench, toy):
    caught = await fails(bench, toy(in_thread(raising(KeyboardInterrupt()))))
    assert type(caught) is EngineError


@BOTH
async def test_an_engine_that_stops_unasked_has_failed(way, bench, toy):
    caught = await fails(bench, toy(way(raising(Cancelled()))))
    assert type(caught) is EngineError
    assert "nobody had asked" in str(caught)


@BOTH
async def test_a_long_message_is_bounded(way, bench, toy):
    caught = await fails(bench, toy(way(raising(ValueError("x" * 10_000_000)))))
    assert len(str(caught)) < 2_000


async def test_a_failed_jobs_traceback_is_logged_once_at_debug(bench, toy, log_lines):
    await fails(bench, toy(in_thread(raising(ValueError("odd size")))))
    (line,) = [line for line in log_lines if "traceback" in line]
    assert line["level"] == "DEBUG"
    assert "ValueError: odd size" in line["traceback"]


async def test_the_error_of_a_job_keeps_nothing_of_the_engine_alive(bench, toy):
    caught = await fails(bench, toy(in_thread(raising(ValueError("odd")))))
    assert (caught.__cause__, caught.__context__) == (None, None)


async def test_an_engine_runs_on_after_a_failed_job(bench, toy, answer):
    outcomes = iter([ValueError("odd"), SystemExit(1), None])

    def run(job):
        if (error := next(outcomes)) is not None:
            raise error
        return answer

    host = bench.host(toy(run))
    for _ in range(2):
        with pytest.raises(EngineError):
            await within(host.run(bench.call(host)))
    assert (await within(host.run(bench.call(host)))).result == answer


# what an engine returns


@BOTH
@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("text", "engine 'toy' returned str, an LlmResult is needed"),
        (None, "engine 'toy' returned None, an LlmResult is needed"),
        (ImageResult(b"x", "png"), "engine 'toy' returned ImageResult, an LlmResult is needed"),
        (LlmResult({"n": float("nan")}), "engine 'toy' returned JSON that cannot be sent"),
    ],
)
async def test_a_result_of_the_wrong_shape_is_named(way, result, words, bench, toy):
    caught = await fails(bench, toy(way(lambda job: result)))
    assert str(caught).startswith(words)
    assert caught.retryable


async def test_a_result_file_of_a_loop_engine_is_looked_at(bench, toy):
    def run(job):
        path = job.work_dir / "out.png"
        path.write_bytes(b"x")
        return ImageResult(path, "png")

    host = bench.host(toy(on_loop(run), kind=TaskKind.IMAGE))
    call = bench.call(host)
    output = await within(host.run(call))
    assert output.result == ImageResult((call.work_dir / "out.png").resolve(), "png")
