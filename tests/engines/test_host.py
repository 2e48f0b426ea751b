"""The host: jobs in threads and on the loop, their errors, their cancellation, their end."""

import asyncio
import logging
import sys
import threading
import time

import pytest

from studio_worker.engines.base import Engine, EngineCapabilities, ImageResult, JobInfo, LlmResult, Outcome
from studio_worker.errors import BadInput, Cancelled, EngineError, JobCancelled, OutOfMemory, UnsupportedTask
from studio_worker.models.files import ModelFiles
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import LlmTask

WAIT_SECS = 20.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def in_thread(value):
    """A run that does in a thread what `value` does."""

    def run(job):
        return value(job)

    return run


def on_loop(value):
    """A run that does on the loop what `value` does."""

    async def run(job):
        return value(job)

    return run


BOTH = pytest.mark.parametrize("way", [in_thread, on_loop])


def raising(error):
    def run(job):
        raise error

    return run


async def fails(bench, engine, **options) -> EngineError:
    host = bench.host(engine)
    with pytest.raises((EngineError, UnsupportedTask, BadInput, JobCancelled)) as caught:
        await within(host.run(bench.call(host, engine.name, **options)))
    return caught.value


# where a job runs


@BOTH
async def test_a_job_comes_back_with_its_result_and_its_meta(way, bench, toy, answer):
    def run(job):
        job.meta["steps"] = 3
        return answer

    host = bench.host(toy(way(run)))
    output = await within(host.run(bench.call(host)))
    assert (output.result, output.meta) == (answer, {"steps": 3})


@BOTH
async def test_an_engine_sees_everything_of_its_call(way, bench, toy, answer, tmp_path, model_files):
    seen = []
    host = bench.host(toy(way(lambda job: seen.append(job) or answer)))
    model = model_files(tmp_path, "toy.bin", context_size=5)
    sound = tmp_path / "a.wav"
    call = bench.call(host, model=model, inputs={"audio": sound})
    await within(host.run(call))
    (job,) = seen
    assert (job.id, job.model, job.seed, job.work_dir) == (call.job_id, "toy.bin", 7, call.work_dir)
    assert isinstance(job.task, LlmTask)
    assert job.files == {"model": [tmp_path / "toy.bin"]}
    assert (job.options.context_size, job.inputs, job.source) == (5, {"audio": sound}, None)


async def test_a_thread_engine_runs_off_the_loop_and_a_loop_engine_on_it(bench, toy, answer):
    threads = {}
    one = toy(in_thread(lambda job: threads.update(thread=threading.get_ident()) or answer), name="one")
    two = toy(on_loop(lambda job: threads.update(loop=threading.get_ident()) or answer), name="two")
    host = bench.host(one, two)
    await within(host.run(bench.call(host, "one")))
    await within(host.run(bench.call(host, "two")))
    assert threads["loop"] == threading.get_ident() != threads["thread"]


async def test_a_loop_engine_gets_no_task_of_its_own(bench, toy, answer):
    tasks = []

    async def run(job):
        tasks.append(asyncio.current_task())
        return answer

    host = bench.host(toy(run))
    await within(host.run(bench.call(host)))
    task = asyncio.create_task(host.run(bench.call(host)))
    await within(task)
    assert tasks[1] is task


@pytest.mark.parametrize("seats", [1, 3])
async def test_at_most_concurrency_jobs_of_a_thread_engine_run_at_once(seats, bench, toy, answer):
    lock, most, now = threading.Lock(), 0, 0
    full = threading.Barrier(seats)

    def run(job):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        full.wait(WAIT_SECS)
        with lock:
            now -= 1
        return answer

    engine = toy(run)
    engine.concurrency = seats
    host = bench.host(engine)
    await within(asyncio.gather(*(host.run(bench.call(host)) for _ in range(seats * 3))))
    assert most == seats


async def test_at_most_concurrency_jobs_of_a_loop_engine_run_at_once(bench, toy, answer):
    now, most = 0, 0

    async def run(job):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return answer

    engine = toy(run)
    engine.concurrency = 2
    host = bench.host(engine)
    await within(asyncio.gather(*(host.run(bench.call(host)) for _ in range(9))))
    assert most == 2


async def test_a_busy_engine_does_not_keep_another_waiting(bench, toy, answer):
    release = threading.Event()
    slow = toy(in_thread(lambda job: release.wait(WAIT_SECS) and answer), name="slow")
    quick = toy(in_thread(lambda job: answer), name="quick")
    host = bench.host(slow, quick)
    waiting = asyncio.create_task(host.run(bench.call(host, "slow")))
    await within(host.run(bench.call(host, "quick")))
    assert not waiting.done()
    release.set()
    await within(waiting)


async def test_a_loop_engine_whose_run_is_not_async_runs_in_a_thread_with_a_warning(bench, toy, answer, log_lines):
    threads = []
    engine = toy(in_thread(lambda job: threads.append(threading.get_ident()) or answer))
    engine.isolation = "loop"
    host = bench.host(engine)
    await within(host.run(bench.call(host)))
    await within(host.run(bench.call(host)))
    assert threading.get_ident() not in threads
    assert len([line for line in log_lines if line["level"] == "WARNING"]) == 1


async def test_a_thread_engine_whose_run_is_async_is_told_so(bench, toy, answer):
    engine = toy(on_loop(lambda job: answer))
    engine.isolation = "thread"
    error = await fails(bench, engine)
    assert str(error) == "engine 'toy' has an async run, which needs isolation 'loop'"
    assert not error.retryable


async def test_an_engine_object_that_asks_for_a_process_runs_in_a_thread_with_a_warning(bench, toy, answer, log_lines):
    engine = toy(in_thread(lambda job: answer))
    engine.isolation = "process"
    host = bench.host(engine)
    assert host.descriptions[0].isolation == "thread"
    assert (await within(host.run(bench.call(host)))).result == answer
    assert any("asks for a process" in line["message"] for line in log_lines)


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


# cancelling


async def cancel_started(bench, host, started: threading.Event, name="toy"):
    """A call that is cancelled once its engine is at work; the call, when it has returned."""
    call = bench.call(host, name)
    task = asyncio.create_task(host.run(call))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(task)
    return call


async def test_a_cancelled_thread_job_is_asked_to_stop_and_returns_at_once(bench, toy):
    started, release, asked = threading.Event(), threading.Event(), []

    def run(job):
        started.set()
        release.wait(WAIT_SECS)
        asked.append(job.cancelled)
        job.check_cancelled()

    host = bench.host(toy(run))
    call = await cancel_started(bench, host, started)
    assert asked == []
    settling = asyncio.create_task(host.settled(call.job_id))
    await asyncio.sleep(0)
    assert not settling.done()
    release.set()
    await within(settling)
    assert asked == [True]


async def test_a_job_that_ended_well_has_settled(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    call = bench.call(host)
    await within(host.run(call))
    await within(host.settled(call.job_id))
    await within(host.settled("never-heard-of"))


async def test_a_job_that_is_cancelled_while_it_waits_for_a_thread_never_runs(bench, toy, answer):
    started, release, ran = threading.Event(), threading.Event(), []

    def run(job):
        ran.append(job.id)
        started.set()
        release.wait(WAIT_SECS)
        return answer

    host = bench.host(toy(run))
    first = bench.call(host)
    running = asyncio.create_task(host.run(first))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    second = bench.call(host)
    waiting = asyncio.create_task(host.run(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(waiting)
    await within(host.settled(second.job_id))
    release.set()
    await within(running)
    assert ran == [first.job_id]


async def test_the_thread_of_a_cancelled_job_takes_the_next_job_when_it_is_done(bench, toy, answer):
    started, release = threading.Event(), threading.Event()

    def run(job):
        started.set()
        release.wait(WAIT_SECS)
        return answer

    host = bench.host(toy(run))
    await cancel_started(bench, host, started)
    release.set()
    assert (await within(host.run(bench.call(host)))).result == answer


async def test_a_cancelled_loop_job_is_cancelled_where_it_waits(bench, toy):
    started, ended = threading.Event(), []

    async def run(job):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    host = bench.host(toy(run))
    call = await cancel_started(bench, host, started)
    assert ended == [True]
    await within(host.settled(call.job_id))


async def test_a_loop_engine_cannot_swallow_a_cancellation(bench, toy, answer):
    started = threading.Event()

    async def run(job):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return answer

    host = bench.host(toy(run))
    await cancel_started(bench, host, started)


async def test_an_engines_deadline_of_its_own_is_a_failure_and_no_cancellation(bench, toy):
    async def run(job):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    assert type(await fails(bench, toy(run))) is EngineError


# progress


async def test_progress_from_a_thread_arrives_on_the_loop(bench, toy, answer):
    seen = []

    def run(job):
        job.progress(1, 2, stage="paint", preview=b"jpeg")
        return answer

    host = bench.host(toy(run))
    call = bench.call(host, on_progress=lambda *report: seen.append((threading.get_ident(), *report)))
    await within(host.run(call))
    assert seen == [(threading.get_ident(), 1, 2, "paint", b"jpeg")]


@BOTH
async def test_the_last_progress_is_told_before_the_result(way, bench, toy, answer):
    def run(job):
        for step in range(1, 101):
            job.progress(step, 100)
        return answer

    host = bench.host(toy(way(run)))
    await within(host.run(bench.call(host)))
    assert bench.progress[-1][:2] == (100, 100)
    assert len(bench.progress) < 20


async def test_a_listener_that_fails_does_not_fail_the_job(bench, toy, answer, log_lines):
    def fail(*report):
        raise ValueError("listener")

    host = bench.host(toy(on_loop(lambda job: job.progress(1, 2) or answer)))
    assert (await within(host.run(bench.call(host, on_progress=fail)))).result == answer
    assert any(line.get("event") == "engine.progress" for line in log_lines)


# the log


async def test_a_job_leaves_one_line_with_its_engine_and_its_time(bench, toy, answer, log_lines):
    host = bench.host(toy(in_thread(lambda job: answer)))
    call = bench.call(host)
    await within(host.run(call))
    (line,) = [line for line in log_lines if line.get("event") == "engine.dispatch"]
    assert (line["op"], line["job_id"], line["kind"], line["engine"]) == ("dispatch", call.job_id, "llm", "toy")
    assert line["elapsed_ms"] >= 0
    assert line["level"] == "DEBUG"


async def test_a_failed_job_leaves_one_warning_with_its_reason(bench, toy, log_lines):
    await fails(bench, toy(in_thread(raising(ValueError("odd")))))
    (line,) = [line for line in log_lines if line.get("event") == "engine.dispatch"]
    assert (line["level"], line["retryable"]) == ("WARNING", True)
    assert line["reason"] == "engine 'toy' failed: ValueError: odd"


async def test_what_an_engine_logs_is_bound_to_its_job(bench, toy, answer, log_lines):
    host = bench.host(toy(in_thread(lambda job: job.log.info("hello {x}") or answer)))
    call = bench.call(host)
    await within(host.run(call))
    line = next(line for line in log_lines if line["message"] == "hello {x}")
    assert (line["job_id"], line["engine"]) == (call.job_id, "toy")


# plugins


async def test_a_plugins_engine_is_imported_at_its_first_job_and_gets_its_table(bench, shop, describe):
    module = shop.engine("alpha", "size = 0\n\ndef run(self, job): return ImageResult(b'x' * self.size, 'png')")
    path = shop.folder / f"{module}.py"
    path.write_text(
        path.read_text().replace("return [Mine()]", "mine = Mine(); mine.size = config.plugin['size']; return [mine]")
    )
    engine = describe("alpha", distribution="alpha", entry_point=module)
    host = bench.host(descriptions=(engine,), tables={"alpha": {"size": 3}})
    await host.start()
    assert module not in sys.modules
    output = await within(host.run(bench.call(host, "alpha")))
    assert output.result == ImageResult(b"xxx", "png")
    assert module in sys.modules


async def test_a_plugin_that_has_lost_its_engine_fails_the_job_by_name(bench, shop, describe):
    module = shop.engine("alpha", hooks="[]")
    engine = describe("alpha", entry_point=module)
    host = bench.host(descriptions=(engine,))
    with pytest.raises(EngineError, match="does not bring the engine 'alpha' any more"):
        await within(host.run(bench.call(host, "alpha")))


@pytest.mark.parametrize("isolation", ["process", "loop"])
async def test_a_plugin_that_cannot_be_imported_fails_the_job(isolation, bench, shop, describe):
    module = shop.make("bad", "raise SystemExit(0)")
    host = bench.host(descriptions=(describe("bad", entry_point=module, isolation=isolation),))
    with pytest.raises(EngineError, match="engine 'bad' failed: SystemExit: 0"):
        await within(host.run(bench.call(host, "bad")))


# the end


async def test_a_closed_host_takes_no_more_jobs(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    await host.aclose()
    with pytest.raises(EngineError, match="the worker is stopping"):
        await host.run(bench.call(host))


async def test_closing_asks_the_jobs_at_work_to_stop(bench, toy):
    started, asked = threading.Event(), threading.Event()

    def run(job):
        started.set()
        while not job.cancelled:
            time.sleep(0.001)
        asked.set()
        job.check_cancelled()

    host = bench.host(toy(run))
    task = asyncio.create_task(host.run(bench.call(host)))
    assert await asyncio.to_thread(started.wait, WAIT_SECS)
    await within(host.aclose())
    with pytest.raises(JobCancelled):
        await within(task)
    assert asked.is_set()


async def test_closing_twice_is_closing_once(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    await within(host.run(bench.call(host)))
    await within(host.aclose())
    await within(host.aclose())


async def test_threads_end_with_their_host(bench, toy, answer):
    threads = []
    host = bench.host(toy(in_thread(lambda job: threads.append(threading.current_thread()) or answer)))
    await within(host.run(bench.call(host)))
    await within(host.aclose())
    for thread in threads:
        await asyncio.to_thread(thread.join, WAIT_SECS)
        assert not thread.is_alive()


# job hooks

WATCHER = """
    import threading
    from studio_worker import hookimpl

    seen = []
    changed = threading.Condition()

    def note(*what):
        with changed:
            seen.append((threading.current_thread().name, *what))
            changed.notify_all()

    @hookimpl
    def studio_worker_job_started(job):
        note("started", job)

    @hookimpl
    def studio_worker_job_finished(job, outcome):
        note("finished", job, outcome)
"""
HOOKS = ("studio_worker_job_started", "studio_worker_job_finished")
JOB = JobInfo("j-1", TaskKind.LLM, "m", "toy")


def watching(describe, module: str, hooks=HOOKS, **fields):
    return describe("watcher", entry_point=module, hooks=hooks, sources=(), models={}, **fields)


async def test_hooks_are_told_of_start_and_end_in_a_thread_of_their_own(bench, shop, describe):
    module = shop.make("watcher", WATCHER)
    host = bench.host(descriptions=(watching(describe, module),))
    outcome = Outcome("done", 1.5)
    host.job_started(JOB)
    host.job_finished(JOB, outcome)
    await within(host.aclose())
    seen = sys.modules[module].seen
    assert [entry[1:] for entry in seen] == [("started", JOB), ("finished", JOB, outcome)]
    assert threading.current_thread().name not in [entry[0] for entry in seen]


async def test_a_plugin_with_two_engines_is_told_once(bench, shop, describe):
    module = shop.make("watcher", WATCHER)
    two = [watching(describe, module, position=position) for position in range(2)]
    host = bench.host(descriptions=tuple(two))
    host.job_started(JOB)
    await within(host.aclose())
    assert len(sys.modules[module].seen) == 1


@pytest.mark.parametrize("source", ["raise SystemExit", "from studio_worker import hookimpl\nx = 1 / 0"])
async def test_a_hook_that_fails_is_logged_and_ends_nothing(source, bench, shop, describe, log_lines):
    module = shop.make("watcher", source)
    host = bench.host(descriptions=(watching(describe, module),))
    host.job_started(JOB)
    host.job_started(JOB)
    await within(host.aclose())
    errors = [line for line in log_lines if line.get("event") == "engine.hook"]
    assert [line["plugin"] for line in errors] == ["watcher", "watcher"]


@pytest.mark.parametrize("status", ["disabled", "broken"])
async def test_hooks_of_a_plugin_that_is_not_used_are_not_called(status, bench, shop, describe):
    module = shop.make("watcher", WATCHER)
    host = bench.host(descriptions=(watching(describe, module, status=status),))
    host.job_started(JOB)
    await within(host.aclose())
    assert module not in sys.modules


async def test_a_hook_that_hangs_delays_neither_jobs_nor_the_end(bench, shop, describe, log_lines):
    module = shop.make(
        "watcher",
        """
        import threading
        from studio_worker import hookimpl

        release = threading.Event()

        @hookimpl
        def studio_worker_job_started(job):
            release.wait(60)
        """,
    )
    host = bench.host(descriptions=(watching(describe, module, hooks=HOOKS[:1]),))
    for _ in range(2_000):
        host.job_started(JOB)
    await within(host.aclose())
    assert len([line for line in log_lines if "slower than the jobs" in line["message"]]) == 1
    sys.modules[module].release.set()


async def test_no_thread_is_started_where_nobody_listens(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    before = threading.active_count()
    host.job_started(JOB)
    host.job_finished(JOB, Outcome("failed", 0.1, "x"))
    assert threading.active_count() == before


def test_nothing_here_uses_the_standard_logger():
    assert logging.getLogger("studio_worker").handlers == []


# engines that are given as a path


class Given(Engine):
    name = "given"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["given"]})

    def run(self, job):
        return LlmResult({"ok": True})


async def test_an_engine_of_a_path_keeps_the_isolation_that_it_asks_for(bench, shop):
    shop.engine("alpha")
    host = bench.host("plugin_alpha:Mine")
    assert (host.descriptions[0].name, host.descriptions[0].isolation) == ("alpha", "process")
    assert (await within(host.run(bench.call(host, "alpha")))).result == ImageResult(b"x", "png")


async def test_two_given_engines_stay_apart(bench, toy, answer):
    one = toy(in_thread(lambda job: LlmResult({"from": 1})), name="one")
    two = toy(in_thread(lambda job: LlmResult({"from": 2})), name="two")
    host = bench.host(one, two)
    assert (await within(host.run(bench.call(host, "two")))).result.json == {"from": 2}
    assert (await within(host.run(bench.call(host, "one", model=ModelFiles("m"))))).result.json == {"from": 1}
