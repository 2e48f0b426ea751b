"""How a worker starts and ends inside somebody else's process: clean, whole, and whatever is in its way."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from loguru import logger

from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, Worker
from studio_worker.errors import AlreadyRunning, ConfigError, JobCancelled, PluginError


class Boom(Exception):
    """An embedder's own error."""


async def test_the_end_of_the_block_lets_running_jobs_finish(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words(), model="gate-llm")
        await soon(gate.entered.get())
        asyncio.get_running_loop().call_soon(gate.opened.set)
    assert isinstance(await job, LlmResult)


async def test_the_end_of_the_block_ends_jobs_that_wait_for_a_seat(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        worker.submit(words(), model="gate-llm")
        waiting = worker.submit(words(), model="gate-llm")
        await soon(gate.entered.get())
        asyncio.get_running_loop().call_soon(gate.opened.set)
    with pytest.raises(JobCancelled) as caught:
        await waiting
    assert caught.value.retryable is True


async def test_an_error_in_the_block_stops_the_worker_at_once_and_is_raised(settings, gate, words, soon):
    jobs = []

    async def live() -> None:
        async with Worker(settings(), engines=[gate]) as worker:
            jobs.append(worker.submit(words(), model="gate-llm"))
            await soon(gate.entered.get())
            raise Boom

    with pytest.raises(Boom):
        await live()
    with pytest.raises(JobCancelled) as caught:
        await soon(jobs[0])
    assert caught.value.retryable is True


async def test_what_a_drain_cannot_wait_for_is_cancelled_as_retryable(settings, gate, words, soon):
    async with Worker(settings(drain_timeout_secs=0.05), engines=[gate]) as worker:
        job = worker.submit(words(), model="gate-llm")
        await soon(gate.entered.get())
        await soon(worker.drain())
        with pytest.raises(JobCancelled, match="time is over") as caught:
            await soon(job)
    assert caught.value.retryable is True


async def test_abandoning_ends_running_jobs_without_a_wait_also_in_a_drain(settings, gate, words, soon):
    async with Worker(settings(), engines=[gate]) as worker:
        job = worker.submit(words(), model="gate-llm")
        await soon(gate.entered.get())
        draining = asyncio.create_task(worker.drain())
        await soon(worker.abandon())
        await soon(draining)
        with pytest.raises(JobCancelled, match="operator stopped"):
            await soon(job)


@pytest.mark.parametrize("end", [Worker.drain, Worker.abandon])
async def test_to_end_a_worker_before_its_start_is_refused_and_leaves_it_usable(end, settings, words, soon):
    worker = Worker(settings())
    with pytest.raises(RuntimeError, match="not started"):
        await end(worker)
    async with worker:
        assert isinstance(await soon(worker.submit(words(), model="synthetic-llm")), LlmResult)


async def test_run_returns_when_the_worker_has_been_drained(settings, soon):
    async with Worker(settings()) as worker:
        running = asyncio.create_task(worker.run())
        await soon(worker.drain())
        await soon(running)
        await soon(worker.drain())


async def test_a_cancelled_run_leaves_the_worker_at_work(settings, words):
    async with Worker(settings()) as worker:
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert isinstance(await worker.submit(words(), model="synthetic-llm"), LlmResult)


async def test_events_end_with_the_worker(settings, soon):
    async with Worker(settings()) as worker:
        events = worker.events()
        follower = asyncio.create_task(anext(events, None))
    assert await soon(follower) is None


async def test_events_asked_for_before_a_start_that_fails_end_with_it(settings):
    worker = Worker(settings(state_dir=Path("/proc/nowhere")))
    reader = worker.events()
    with pytest.raises(ConfigError):
        await worker.__aenter__()
    assert [event async for event in reader] == []


async def test_a_second_worker_on_the_same_folder_is_told_which_process_holds_it(settings):
    async with Worker(settings()):
        with pytest.raises(AlreadyRunning, match=str(os.getpid())):
            async with Worker(settings()):
                pytest.fail("started")
    async with Worker(settings()):
        pass


async def test_two_workers_with_folders_of_their_own_work_side_by_side(settings, words):
    async with Worker(settings("one")) as one, Worker(settings("two")) as two:
        jobs = [worker.submit(words(), model="synthetic-llm") for worker in (one, two)]
        assert all(isinstance(result, LlmResult) for result in await asyncio.gather(*jobs))
        one.pause()
        assert (one.status()["paused"], two.status()["paused"]) == (True, False)


async def test_a_worker_object_starts_once(settings):
    worker = Worker(settings())
    async with worker:
        pass
    with pytest.raises(RuntimeError, match="another Worker"):
        async with worker:
            pytest.fail("started")


@pytest.mark.parametrize("in_the_way", ["", "spool", "work"])
async def test_a_state_folder_that_cannot_be_used_is_a_config_error_that_names_it(settings, in_the_way):
    folder = settings().state_path
    (folder if in_the_way else folder.parent).mkdir(parents=True, exist_ok=True)
    blocked = folder / in_the_way
    blocked.write_text("a file")
    with pytest.raises(ConfigError, match="state folder") as caught:
        async with Worker(settings(api_base_url="http://127.0.0.1:9/")):
            pytest.fail("started")
    assert str(folder) in str(caught.value)
    blocked.unlink()
    async with Worker(settings()):
        pass


@pytest.mark.parametrize("engine", ["no.such.module:make", "json", "json:no_such_factory", "json:JSONDecoder"])
async def test_an_engine_that_cannot_be_made_is_named_and_the_folder_let_go(settings, engine):
    with pytest.raises(PluginError):
        async with Worker(settings(), engines=[engine]):
            pytest.fail("started")
    async with Worker(settings()):
        pass


def test_a_failed_start_leaves_nothing_open(settings, leaves_nothing):
    folder = settings().state_path
    folder.mkdir(parents=True)
    (folder / "spool").write_text("a file")

    async def start() -> None:
        async with Worker(settings(api_base_url="http://127.0.0.1:9/")):
            pytest.fail("started")

    with leaves_nothing(), pytest.raises(ConfigError):
        asyncio.run(start())


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_a_start_that_is_cancelled_anywhere_lets_the_folder_go(settings, soon, steps):
    async def live() -> None:
        async with Worker(settings()):
            await asyncio.Event().wait()

    others = asyncio.all_tasks()
    starting = asyncio.create_task(live())
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    await soon(asyncio.wait([starting]))
    assert starting.cancelled()
    assert asyncio.all_tasks() == others
    async with Worker(settings()):
        pass


def test_cancelling_the_surrounding_task_leaves_nothing_behind(settings, gate, words, leaves_nothing):
    async def main() -> None:
        before = asyncio.all_tasks()
        entered = asyncio.Event()

        async def live() -> None:
            async with Worker(settings(), engines=[gate]) as worker:
                worker.submit(words(), model="gate-llm")
                await worker.submit(words(), model="synthetic-llm")

        task = asyncio.create_task(live())
        asyncio.get_running_loop().call_soon(entered.set)
        await gate.entered.get()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == before

    with leaves_nothing():
        asyncio.run(main())


def test_a_second_cancellation_leaves_nothing_behind_either(settings, gate, words, leaves_nothing):
    async def stop_slowly(job):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)

    gate.run = stop_slowly

    async def main() -> None:
        before = asyncio.all_tasks()

        async def live() -> None:
            async with Worker(settings(), engines=[gate]) as worker:
                job = worker.submit(words(), model="gate-llm")
                async for _ in worker.events():
                    started.set()
                await job

        started = asyncio.Event()
        task = asyncio.create_task(live())
        await started.wait()
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == before
        async with Worker(settings(), engines=[]):
            pass

    with leaves_nothing():
        asyncio.run(main())


class Deaf(Engine):
    """Works in a thread until `released`, and never looks whether it is to stop."""

    name = "deaf"
    isolation = "thread"

    def __init__(self):
        self.entered, self.released = threading.Event(), threading.Event()

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["deaf"]})

    def run(self, job):
        self.entered.set()
        self.released.wait(60)


async def test_of_an_engine_in_a_thread_that_heeds_no_cancel_its_thread_alone_stays(settings, words, monkeypatch, soon):
    monkeypatch.setattr("studio_worker.engines.host.CLOSE_GRACE_SECS", 0.05)
    deaf, threads, tasks = Deaf(), set(threading.enumerate()), asyncio.all_tasks()

    async def live() -> None:
        async with Worker(settings(), engines=[deaf]) as worker:
            worker.submit(words(), model="deaf")
            await asyncio.to_thread(deaf.entered.wait)
            raise Boom

    with pytest.raises(Boom):
        await soon(live())
    left = [each for each in set(threading.enumerate()) - threads if not each.name.startswith("asyncio_")]
    assert [(each.name, each.daemon) for each in left] == [("engine-deaf-1", True)]
    assert asyncio.all_tasks() - tasks == set()
    deaf.released.set()
    await asyncio.to_thread(left[0].join)


async def test_a_run_beside_a_block_that_fails_returns_and_is_not_cancelled(settings, soon):
    running = []

    async def live() -> None:
        async with Worker(settings()) as worker:
            running.append(asyncio.create_task(worker.run()))
            await asyncio.sleep(0)
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"):
        await live()
    assert await soon(running[0]) is None


async def test_cancelling_a_drain_at_the_end_of_the_block_stops_at_once(settings, gate, words, soon):
    async def live() -> None:
        async with Worker(settings(), engines=[gate]) as worker:
            worker.submit(words(), model="gate-llm")

    before = asyncio.all_tasks()
    task = asyncio.create_task(live())
    await soon(gate.entered.get())
    task.cancel()
    await soon(asyncio.wait([task]))
    assert task.cancelled()
    assert asyncio.all_tasks() == before
    async with Worker(settings()):
        pass


def test_a_worker_lives_in_a_second_event_loop_after_the_first_has_ended(settings, words, leaves_nothing):
    async def main() -> object:
        async with Worker(settings()) as worker:
            return await worker.submit(words(), model="synthetic-llm")

    with leaves_nothing():
        assert asyncio.run(main()) == asyncio.run(main())


def test_a_worker_lives_in_a_thread_that_is_not_the_main_one(settings, words):
    results: list[object] = []

    async def main() -> None:
        async with Worker(settings()) as worker:
            results.append(await worker.submit(words(), model="synthetic-llm"))

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(30)
    assert isinstance(results[0], LlmResult)


def test_starting_and_stopping_many_times_leaks_nothing(settings, leaves_nothing):
    async def main(rounds: int) -> None:
        for _ in range(rounds):
            async with Worker(settings()) as worker:
                worker.pause()

    asyncio.run(main(1))
    with leaves_nothing():
        asyncio.run(main(30))


async def test_pausing_and_resuming_a_thousand_times_changes_nothing(settings):
    async with Worker(settings()) as worker:
        before, tasks = worker.status(), asyncio.all_tasks()
        for _ in range(1_000):
            worker.pause()
            worker.resume()
        assert worker.status() == before
        assert asyncio.all_tasks() == tasks


def test_a_worker_changes_nothing_that_belongs_to_its_process(settings, words):
    def facts() -> dict[str, object]:
        return {
            "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
            "wakeup": signal.set_wakeup_fd(-1),
            "logging": (logging.root.level, list(logging.root.handlers), logging.getLogger().disabled),
            "loguru": logger._core.handlers.copy(),
            "environ": dict(os.environ),
            "folder": os.getcwd(),
            "umask": _umask(),
            "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
            "path": list(sys.path),
        }

    seen: list[dict[str, object]] = []

    async def main() -> None:
        seen.append(facts())
        async with Worker(settings()) as worker:
            await worker.submit(words(), model="synthetic-llm")
            seen.append(facts())
        seen.append(facts())

    asyncio.run(main())
    assert seen[0] == seen[1] == seen[2]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_the_pid_file_goes_with_the_worker_and_the_lock_is_private(settings):
    folder = settings().state_path
    async with Worker(settings()):
        assert (folder / "worker.pid").read_text().strip() == str(os.getpid())
        assert (folder.stat().st_mode & 0o777) == 0o700
    assert not (folder / "worker.pid").exists()


async def test_local_jobs_leave_no_work_folder_no_journal_and_no_spool(settings, words):
    config = settings()
    async with Worker(config) as worker:
        await worker.submit(words(), model="synthetic-llm")
    assert list((config.state_path / "work").iterdir()) == []
    assert not [path for path in config.state_path.iterdir() if path.name.startswith(("journal", "spool"))]
