"""The host: where jobs run, what they see, what is heard of them."""

import asyncio
import gc
import sys
import threading

import pytest

from studio_worker.engines.base import ImageResult, LlmResult
from studio_worker.errors import BadInput, EngineError, JobCancelled, UnsupportedTask
from studio_worker.models.files import ModelFiles
from studio_worker.wire.tasks import LlmTask

from .runs import BOTH, WAIT_SECS, in_thread, on_loop, raising, within


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
    engine = describe("alpha", distribution="alpha", entry_point=module, isolation="thread")
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


# engines that are given as a path


async def test_an_engine_of_a_path_keeps_the_isolation_that_it_asks_for(bench, shop):
    shop.engine("alpha")
    host = await bench.factory_host("plugin_alpha:Mine")
    assert (host.descriptions[0].name, host.descriptions[0].isolation) == ("alpha", "process")
    assert (await within(host.run(bench.call(host, "alpha")))).result == ImageResult(b"x", "png")


async def test_two_given_engines_stay_apart(bench, toy, answer):
    one = toy(in_thread(lambda job: LlmResult({"from": 1})), name="one")
    two = toy(in_thread(lambda job: LlmResult({"from": 2})), name="two")
    host = bench.host(one, two)
    assert (await within(host.run(bench.call(host, "two")))).result.json == {"from": 2}
    assert (await within(host.run(bench.call(host, "one", model=ModelFiles("m"))))).result.json == {"from": 1}


@BOTH
async def test_an_engine_here_that_thinks_for_too_long_over_an_estimate_has_not_said(way, bench, toy, monkeypatch):
    thinking = threading.Event()
    engine = toy(way(lambda job: None))
    engine.estimate = lambda model: thinking.wait(WAIT_SECS)
    host = bench.host(engine)
    monkeypatch.setattr("studio_worker.engines.runner.ESTIMATE_SECS", 0.05)
    with pytest.raises(EngineError, match=r"engine 'toy' did not say within 0\.05 s"):
        await within(host.estimate(bench.call(host).route, ModelFiles("m")))
    thinking.set()


async def test_a_cancelled_job_leaves_no_complaint_of_an_error_that_nobody_read(bench, toy):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    started = threading.Event()

    def run(job):
        started.set()
        while True:
            job.check_cancelled()

    host = bench.host(toy(run))
    call = bench.call(host)
    running = asyncio.create_task(host.run(call))
    await asyncio.to_thread(started.wait)
    running.cancel()
    await asyncio.wait([running])
    await within(host.settled(call.job_id))
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
