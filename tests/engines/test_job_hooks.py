"""The plugins' job hooks, called through the host."""

import asyncio
import sys
import threading

import pytest

from studio_worker.engines.base import JobInfo, Outcome
from studio_worker.wire.kinds import TaskKind

from .runs import in_thread, within

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
HANGING = """
    import threading
    from studio_worker import hookimpl

    release = threading.Event()

    @hookimpl
    def studio_worker_job_started(job):
        release.wait(60)
"""
HOOKS = ("studio_worker_job_started", "studio_worker_job_finished")
JOB = JobInfo("j-1", TaskKind.LLM, "m", "toy")


def watching(describe, module: str, hooks=HOOKS, **fields):
    return describe("watcher", entry_point=module, hooks=hooks, sources=(), models={}, **fields)


async def until(is_so) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


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


async def test_a_plugin_is_told_from_when_it_is_used_until_it_is_not(bench, shop, describe):
    module = shop.make("watcher", WATCHER)
    used = (watching(describe, module),)
    host = bench.host(descriptions=(watching(describe, module, status="disabled"),))
    host.job_started(JOB)
    host.call_hooks_of(used)
    host.job_started(JOB)
    host.call_hooks_of(())
    host.job_started(JOB)
    await within(host.aclose())
    assert len(sys.modules[module].seen) == 1


async def test_one_engine_that_is_disabled_silences_its_plugin(bench, shop, describe):
    module = shop.make("watcher", WATCHER)
    both = (watching(describe, module), watching(describe, module, position=1, status="disabled"))
    host = bench.host(descriptions=both)
    host.job_started(JOB)
    await within(host.aclose())
    assert module not in sys.modules


@pytest.mark.parametrize("status", ["disabled", "broken"])
async def test_a_copy_in_an_environment_of_its_own_silences_itself_alone(status, bench, shop, describe):
    module = shop.make("watcher", WATCHER)
    copy = watching(describe, module, hooks=(), environment="den", status=status)
    host = bench.host(descriptions=(watching(describe, module), copy))
    host.job_started(JOB)
    await within(host.aclose())
    assert len(sys.modules[module].seen) == 1


async def test_a_hook_that_hangs_delays_neither_jobs_nor_the_end(bench, shop, describe, log_lines):
    module = shop.make(
        "watcher",
        HANGING,
    )
    host = bench.host(descriptions=(watching(describe, module, hooks=HOOKS[:1]),))
    for _ in range(2_000):
        host.job_started(JOB)
    await within(host.aclose())
    assert len([line for line in log_lines if "slower than the jobs" in line["message"]]) == 1
    sys.modules[module].release.set()


async def test_a_hook_that_hangs_is_named_once_and_those_of_other_plugins_are_called(
    bench, shop, describe, log_lines, monkeypatch
):
    monkeypatch.setattr("studio_worker.engines.job_hooks.SLOW_SECS", 0.05)
    hanging, module = shop.make("hanging", HANGING), shop.make("watcher", WATCHER)
    stuck = describe("stuck", entry_point=hanging, hooks=HOOKS[:1], sources=(), models={})
    host = bench.host(descriptions=(stuck, watching(describe, module)))
    for _ in range(5):
        host.job_started(JOB)
    await within(until(lambda: any("takes long" in line["message"] for line in log_lines)))
    host.job_started(JOB)
    await asyncio.sleep(0.1)
    await within(host.aclose())
    told = [line["plugin"] for line in log_lines if "takes long" in line["message"]]
    assert (told, len(sys.modules[module].seen)) == (["stuck"], 6)
    sys.modules[hanging].release.set()


async def test_a_hook_that_returns_in_time_is_not_named(bench, shop, describe, log_lines, monkeypatch):
    monkeypatch.setattr("studio_worker.engines.job_hooks.SLOW_SECS", 0.05)
    module = shop.make("watcher", WATCHER)
    host = bench.host(descriptions=(watching(describe, module),))
    host.job_started(JOB)
    await asyncio.sleep(0.2)
    await within(host.aclose())
    assert log_lines == []


async def test_no_thread_is_started_where_nobody_listens(bench, toy, answer):
    host = bench.host(toy(in_thread(lambda job: answer)))
    before = threading.active_count()
    host.job_started(JOB)
    host.job_finished(JOB, Outcome("failed", 0.1, "x"))
    assert threading.active_count() == before
