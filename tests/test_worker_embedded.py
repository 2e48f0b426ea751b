"""A worker as a part of somebody else's program: its task groups, its loops, its threads, its process-wide settings."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import warnings

import pytest
from loguru import logger
from PIL import Image

from studio_worker import JobAccepted, JobCancelled, LlmResult, RegistrationRejected, Worker
from studio_worker.testing.claims import image_claim
from studio_worker.testing.scripted_studio import ScriptedStudio


class Boom(Exception):
    """An embedder's own error."""


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


async def grouped(*works) -> None:
    """All of them in one task group."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


async def serve(worker: Worker, started: asyncio.Event) -> None:
    """What an embedder gives to a task group."""
    async with worker:
        started.set()
        await worker.run()


class TestInATaskGroup:
    async def test_a_siblings_error_stops_the_worker_and_is_the_only_one(self, settings, gate, words, soon):
        jobs, others = [], asyncio.all_tasks()
        worker, started = Worker(settings(), engines=[gate]), asyncio.Event()

        async def fail() -> None:
            await started.wait()
            jobs.append(worker.submit(words(), model="gate-llm"))
            await gate.entered.get()
            raise Boom

        with pytest.raises(ExceptionGroup) as caught:
            await grouped(serve(worker, started), fail())
        assert [type(error) for error in caught.value.exceptions] == [Boom]
        with pytest.raises(JobCancelled):
            await soon(jobs[0])
        assert asyncio.all_tasks() == others

    async def test_what_ends_the_worker_is_raised_in_the_group_and_stops_the_siblings(self, settings, studio):
        studio.decision = "rejected"
        stopped = []

        async def sibling() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(True)

        with pytest.raises(ExceptionGroup) as caught:
            await grouped(serve(Worker(settings(api_base_url=studio.url)), asyncio.Event()), sibling())
        assert [type(error) for error in caught.value.exceptions] == [RegistrationRejected]
        assert stopped == [True]

    async def test_a_cancelled_group_leaves_no_task_and_lets_the_folders_go(self, settings, studio, soon):
        others, configs = asyncio.all_tasks(), (settings("one", api_base_url=studio.url), settings("two"))
        started = [asyncio.Event() for _ in configs]

        async def live() -> None:
            async with asyncio.TaskGroup() as group:
                for config, event in zip(configs, started, strict=True):
                    group.create_task(serve(Worker(config), event))

        task = asyncio.create_task(live())
        await soon(asyncio.gather(studio.welcomed(), *(event.wait() for event in started)))
        task.cancel()
        await soon(asyncio.wait([task]))
        assert task.cancelled()
        await soon(studio.gone())
        await studio.stop()
        assert asyncio.all_tasks() == others
        for config in configs:
            async with Worker(config):
                pass

    async def test_a_group_inside_the_block_ends_before_the_worker(self, settings, words):
        async with Worker(settings()) as worker, asyncio.TaskGroup() as group:
            asked = [group.create_task(_awaited(worker.submit(words(), model="synthetic-llm"))) for _ in range(3)]
        assert all(isinstance(task.result(), LlmResult) for task in asked)


async def _awaited(job):
    return await job


class TestAJobThatNobodyWaitsForAnyMore:
    async def test_goes_on_when_the_waiting_task_is_cancelled(self, settings, gate, words, soon):
        async with Worker(settings(), engines=[gate]) as worker:
            job = worker.submit(words(), model="gate-llm")
            waiting = asyncio.create_task(_awaited(job))
            await soon(gate.entered.get())
            waiting.cancel()
            await asyncio.wait([waiting])
            gate.opened.set()
            assert waiting.cancelled()
            assert isinstance(await soon(job), LlmResult)

    async def test_goes_on_after_a_timeout_and_its_result_can_be_had_later(self, settings, gate, words, soon):
        async with Worker(settings(), engines=[gate]) as worker:
            job = worker.submit(words(), model="gate-llm")
            await soon(gate.entered.get())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await job
            gate.opened.set()
            assert isinstance(await soon(job), LlmResult)

    async def test_ends_where_its_caller_cancels_it_and_its_engine_is_told(self, settings, gate, words, soon):
        async with Worker(settings(), engines=[gate]) as worker:
            job = worker.submit(words(), model="gate-llm")
            seen = await soon(gate.entered.get())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await job
            assert job.cancel("it took too long")
            with pytest.raises(JobCancelled, match="it took too long"):
                await soon(job)
            assert seen.cancelled
            assert not job.cancel()


async def test_events_can_be_followed_from_before_the_start(settings, words):
    worker = Worker(settings())
    events = worker.events()
    async with worker:
        await worker.submit(words(), model="synthetic-llm")
    assert [event.origin async for event in events if isinstance(event, JobAccepted)] == ["local"]


async def test_a_reader_that_never_reads_keeps_no_job_waiting(settings, words):
    async with Worker(settings()) as worker:
        events = worker.events()
        for _ in range(600):
            await worker.submit(words(), model="synthetic-llm")
    assert events.missed > 0


def facts() -> dict[str, object]:
    """What belongs to the process and not to a worker in it."""
    loop = asyncio.get_running_loop()
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "loguru": logger._core.handlers.copy(),
        "environ": dict(os.environ),
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
        "path": list(sys.path),
        "warnings": list(warnings.filters),
        "limits": [resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "socket": socket.getdefaulttimeout(),
        "pillow": (Image.MAX_IMAGE_PIXELS, sorted(Image.OPEN), sorted(Image.SAVE)),
        "python": (gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit(), sys.getswitchinterval()),
        "faults": faulthandler.is_enabled(),
        "loops": type(asyncio.get_event_loop_policy()),
        "loop": (loop.get_exception_handler(), loop.get_debug(), loop.get_task_factory()),
    }


async def test_a_worker_with_a_studio_and_an_engines_process_changes_nothing_that_belongs_to_its_process(
    settings, site, studio, words, soon
):
    site.install("birch", isolation="process")
    Image.init()
    config = settings(api_base_url=studio.url)
    before = facts()
    async with Worker(config) as worker:
        await soon(worker.submit(words(), model="birch-llm"))
        await studio.offer(image_claim("picture"))
        await soon(studio.upload("picture"))
        during = facts()
    after = facts()
    assert before == during
    assert before == after


LOOPS = {"asyncio": asyncio.new_event_loop}
with contextlib.suppress(ImportError):  # uvloop has no Windows
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.mark.parametrize("loop", LOOPS)
def test_jobs_of_all_isolations_and_of_a_studio_run_on_either_loop(loop, settings, site, gate, words, leaves_nothing):
    for isolation in ("process", "thread"):
        site.install(isolation, isolation=isolation)

    async def main() -> None:
        gate.opened.set()
        async with ScriptedStudio() as studio:
            config = settings(api_base_url=studio.url)
            async with Worker(config, engines=[gate]) as worker:
                models = ("process-llm", "thread-llm", "gate-llm")
                results = await asyncio.gather(*(worker.submit(words(), model=model) for model in models))
                assert [type(result) for result in results] == [LlmResult] * 3
                await studio.offer(image_claim("picture"))
                await studio.upload("picture")
                gate.opened.clear()
                job = worker.submit(words(), model="gate-llm")
                while (await gate.entered.get()).id != job.id:
                    pass
                job.cancel()
                with pytest.raises(JobCancelled):
                    await job

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        # The first loop of libuv makes a pipe for the whole process.
        runner.run(asyncio.sleep(0))
    with leaves_nothing(), asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("loop", LOOPS)
def test_workers_live_in_threads_side_by_side_each_with_a_loop_of_its_own(loop, settings, site, words, leaves_nothing):
    site.install("birch", isolation="process")
    results: dict[str, object] = {}

    def live(name: str) -> None:
        async def main() -> None:
            async with Worker(settings(name)) as worker:
                results[name] = await worker.submit(words(), model="birch-llm")

        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main())

    live("zero")
    with leaves_nothing():
        threads = [threading.Thread(target=live, args=(name,)) for name in ("one", "two", "three")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert [type(results[name]) for name in ("one", "two", "three")] == [LlmResult] * 3
