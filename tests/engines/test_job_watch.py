"""What is told of a job while it runs: that it is taken, that its model is loaded, what is held for it."""

import asyncio
import threading
from dataclasses import replace

import pytest

from studio_worker.engines.base import Engine, EngineCapabilities, LlmResult
from studio_worker.engines.job_watch import UNMEASURED, Held
from studio_worker.errors import EngineError
from studio_worker.models.files import ModelFiles
from studio_worker.wire.kinds import TaskKind

WAIT_SECS = 30.0
MIB = 1024**2


class Watch:
    """Writes down what it is told, and whether that was on the loop."""

    def __init__(self):
        self.told = []
        self.thread = threading.get_ident()

    def taken(self):
        self._note("taken")

    def loaded(self, held):
        self._note(held)

    def _note(self, what):
        assert threading.get_ident() == self.thread
        self.told.append(what)


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


@pytest.fixture
async def watch():
    return Watch()


class Gated(Engine):
    """An engine in a thread that loads and runs when a test lets it."""

    name = "toy"
    isolation = "thread"

    def __init__(self):
        self.may_load = threading.Event()
        self.may_run = threading.Event()

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["toy"]})

    def load(self, model):
        self.may_load.wait(WAIT_SECS)

    def run(self, job):
        self.may_run.wait(WAIT_SECS)
        return LlmResult({})


class GatedOnLoop(Gated):
    isolation = "loop"

    async def run(self, job):
        await asyncio.to_thread(self.may_run.wait, WAIT_SECS)
        return LlmResult({})


@pytest.mark.parametrize("make", [Gated, GatedOnLoop])
async def test_taken_comes_before_the_load_and_loaded_after_it(make, bench, watch, until):
    engine = make()
    host = bench.host(engine)
    running = asyncio.create_task(host.run(replace(bench.call(host, model=ModelFiles("m")), watch=watch)))
    await until(lambda: watch.told)
    assert watch.told == ["taken"]
    engine.may_load.set()
    await until(lambda: len(watch.told) == 2)
    assert watch.told == ["taken", UNMEASURED]
    engine.may_run.set()
    await within(running)
    assert len(watch.told) == 2


async def test_a_job_that_waits_for_a_thread_is_not_taken(bench, watch, until):
    engine = Gated()
    engine.may_load.set()
    host = bench.host(engine)
    first = asyncio.create_task(host.run(bench.call(host)))
    await until(
        lambda: engine.name in {thread.name.split("-")[1] for thread in threading.enumerate() if "-" in thread.name}
    )
    second = asyncio.create_task(host.run(replace(bench.call(host), watch=watch)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert watch.told == []
    engine.may_run.set()
    await within(asyncio.gather(first, second))
    assert watch.told == ["taken", UNMEASURED]


async def test_an_engine_without_a_load_is_told_of_on_the_loop_at_once(bench, toy, watch, answer):
    engine = toy(lambda job: answer)
    # A second thread, since the first may count as busy for a moment after its job's end.
    engine.concurrency = 2
    host = bench.host(engine)
    await within(host.run(bench.call(host)))
    running = asyncio.create_task(host.run(replace(bench.call(host), watch=watch)))
    await asyncio.sleep(0)
    assert watch.told == ["taken", UNMEASURED]
    await within(running)
    assert len(watch.told) == 2


async def test_a_load_that_fails_is_never_told_as_loaded(bench, watch):
    engine = Gated()
    engine.load = lambda model: 1 / 0
    host = bench.host(engine)
    with pytest.raises(EngineError):
        await within(host.run(replace(bench.call(host), watch=watch)))
    assert watch.told == ["taken"]


# in a process


async def test_a_process_says_what_it_holds_for_its_model_and_again_for_the_next_job(
    workshop, watch, tmp_path, model_files
):
    host = workshop.host(
        """
        def load(self, model):
            return bytearray(b"x" * 64_000_000)

        def run(self, job):
            job.loaded.extend(b"x" * 32_000_000)
            return say()
        """
    )
    model = model_files(tmp_path, "m.bin")
    for _ in range(2):
        await within(host.run(replace(workshop.call(host, model=model), watch=watch)))
    first, second = watch.told[1], watch.told[3]
    assert watch.told[0] == watch.told[2] == "taken"
    assert 55 * MIB < first.ram_bytes < 200 * MIB
    assert second.ram_bytes > first.ram_bytes + 20 * MIB
    assert first.vram_bytes is None


async def test_a_process_of_an_engine_without_a_load_has_nothing_to_measure(workshop, watch):
    host = workshop.host()
    await within(host.run(replace(workshop.call(host), watch=watch)))
    assert watch.told == ["taken", Held()]


async def test_a_process_whose_load_fails_says_nothing_of_it(workshop, watch, tmp_path, model_files):
    host = workshop.host("def load(self, model): raise ValueError('damaged')")
    with pytest.raises(EngineError, match="damaged"):
        await within(host.run(replace(workshop.call(host, model=model_files(tmp_path, "m.bin")), watch=watch)))
    assert watch.told == ["taken"]
