"""The model that stays loaded: once for all who share it, one at a time, and not for ever."""

import asyncio
import threading

import pytest

from studio_worker.engines.base import Engine, EngineCapabilities, LlmResult
from studio_worker.engines.warm import WarmModel, loads_models
from studio_worker.errors import BadInput, EngineError, OutOfMemory
from studio_worker.models.files import ModelFiles
from studio_worker.wire.kinds import TaskKind

WAIT_SECS = 20.0


class Loader(Engine):
    """Writes down what is loaded, unloaded and run."""

    name = "toy"
    isolation = "thread"

    def __init__(self):
        self.events = []
        self.load_error = None
        self.unloaded = threading.Event()

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["toy"]})

    def load(self, model):
        if self.load_error is not None:
            raise self.load_error
        self.events.append(f"load {model.id}")
        return f"loaded {model.id}"

    def unload(self, loaded):
        self.events.append(f"un{loaded}")
        self.unloaded.set()

    def run(self, job):
        self.events.append(f"run {job.loaded}")
        return LlmResult({})


class LoopLoader(Loader):
    isolation = "loop"

    async def run(self, job):
        return super().run(job)


BOTH = pytest.mark.parametrize("make", [Loader, LoopLoader])


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def test_only_an_engine_with_a_load_of_its_own_keeps_a_model(toy):
    assert loads_models(Loader())
    assert not loads_models(toy(lambda job: None))


# through the host


@BOTH
async def test_a_model_is_loaded_once_for_many_jobs(make, bench):
    engine = make()
    host = bench.host(engine)
    for _ in range(3):
        await within(host.run(bench.call(host, model=ModelFiles("a"))))
    assert engine.events == ["load a", *["run loaded a"] * 3]


@BOTH
async def test_another_model_takes_the_place_of_the_one_before(make, bench):
    engine = make()
    host = bench.host(engine)
    for name in ("a", "b", "b", "a"):
        await within(host.run(bench.call(host, model=ModelFiles(name))))
    assert engine.events == [
        *["load a", "run loaded a", "unloaded a"],
        *["load b", "run loaded b", "run loaded b", "unloaded b"],
        *["load a", "run loaded a"],
    ]


@BOTH
async def test_a_changed_file_is_loaded_anew(make, bench, tmp_path, model_files):
    engine = make()
    host = bench.host(engine)
    await within(host.run(bench.call(host, model=model_files(tmp_path, "a"))))
    await within(host.run(bench.call(host, model=model_files(tmp_path, "a", b"other weights"))))
    assert engine.events.count("load a") == 2


@BOTH
async def test_an_unused_model_is_unloaded_after_a_while(make, bench):
    engine, told = make(), asyncio.Queue()
    host = bench.host(engine, engine_idle_secs=0.01, on_gone=lambda *gone: told.put_nowait(gone))
    await within(host.run(bench.call(host, model=ModelFiles("a"))))
    assert await within(told.get()) == (host.descriptions[0].key, None)
    await within(host.run(bench.call(host, model=ModelFiles("a"))))
    assert engine.events[:4] == ["load a", "run loaded a", "unloaded a", "load a"]


@BOTH
async def test_closing_the_host_unloads(make, bench):
    engine = make()
    host = bench.host(engine)
    await within(host.run(bench.call(host, model=ModelFiles("a"))))
    await within(host.aclose())
    assert engine.events[-1] == "unloaded a"


@BOTH
@pytest.mark.parametrize("error", [MemoryError(), BadInput("no such format"), ValueError("odd")])
async def test_a_load_that_fails_fails_the_job_and_the_next_one_tries_again(make, error, bench):
    engine = make()
    engine.load_error = error
    host = bench.host(engine)
    wanted = {MemoryError: OutOfMemory, BadInput: BadInput}.get(type(error), EngineError)
    with pytest.raises(wanted):
        await within(host.run(bench.call(host, model=ModelFiles("a"))))
    engine.load_error = None
    await within(host.run(bench.call(host, model=ModelFiles("a"))))
    assert engine.events == ["load a", "run loaded a"]


@BOTH
async def test_an_engine_that_fails_to_unload_is_logged_and_goes_on(make, bench, log_lines):
    engine = make()
    engine.unload = lambda loaded: 1 / 0
    host = bench.host(engine)
    await within(host.run(bench.call(host, model=ModelFiles("a"))))
    await within(host.run(bench.call(host, model=ModelFiles("b"))))
    assert engine.events[-1] == "run loaded b"
    (line,) = [line for line in log_lines if line.get("event") == "engine.unload"]
    assert line["reason"] == "ZeroDivisionError: division by zero"


@BOTH
async def test_a_job_that_is_cancelled_while_its_model_loads_leaves_the_model_in_nobodys_use(make, bench):
    engine = make()
    loading, release = threading.Event(), threading.Event()
    load = engine.load

    def slow(model):
        loading.set()
        release.wait(WAIT_SECS)
        return load(model)

    engine.load = slow
    host = bench.host(engine)
    call = bench.call(host, model=ModelFiles("a"))
    task = asyncio.create_task(host.run(call))
    assert await asyncio.to_thread(loading.wait, WAIT_SECS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await within(task)
    release.set()
    await within(host.settled(call.job_id))
    await within(host.run(bench.call(host, model=ModelFiles("b"))))
    assert engine.events == ["load a", "unloaded a", "load b", "run loaded b"]


async def test_loop_jobs_that_need_different_models_at_once_all_end(bench):
    engine = LoopLoader()
    engine.concurrency = 4
    host = bench.host(engine)
    calls = [bench.call(host, model=ModelFiles(name)) for name in "abcabcabcabc"]
    await within(asyncio.gather(*(host.run(call) for call in calls)))
    assert sum(event.startswith("run") for event in engine.events) == 12


async def test_a_model_that_no_job_uses_because_of_a_failed_file_is_a_failure_of_the_job(bench, tmp_path):
    host = bench.host(Loader())
    gone = ModelFiles("a", files={"model": [tmp_path / "gone"]})
    with pytest.raises(EngineError, match="FileNotFoundError"):
        await within(host.run(bench.call(host, model=gone)))


# by itself, in threads


def in_threads(*calls):
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_users_of_one_model_share_it():
    engine = Loader()
    warm = WarmModel(engine)
    with warm.use(ModelFiles("a")) as one, warm.use(ModelFiles("a")) as two:
        assert one is two
        assert warm.is_busy
    assert not warm.is_busy
    assert engine.events == ["load a"]


def test_another_model_waits_until_the_present_one_is_free():
    engine = Loader()
    warm = WarmModel(engine)
    entered = threading.Event()

    def other():
        with warm.use(ModelFiles("b")):
            entered.set()

    with warm.use(ModelFiles("a")):
        (thread,) = in_threads(other)
        assert "unloaded a" not in engine.events
        assert not entered.is_set()
    thread.join(WAIT_SECS)
    assert engine.events == ["load a", "unloaded a", "load b"]


def test_a_model_in_use_is_not_unloaded():
    engine = Loader()
    warm = WarmModel(engine)
    with warm.use(ModelFiles("a")):
        assert not warm.unload_if_idle()
    assert warm.unload_if_idle()
    assert not warm.unload_if_idle()
    assert engine.events == ["load a", "unloaded a"]


def test_many_threads_that_want_the_same_model_load_it_once():
    engine = Loader()
    warm = WarmModel(engine)
    gate = threading.Barrier(8)

    def use():
        gate.wait(WAIT_SECS)
        with warm.use(ModelFiles("a")):
            gate.wait(WAIT_SECS)

    for thread in in_threads(*[use] * 8):
        thread.join(WAIT_SECS)
    assert engine.events == ["load a"]


def test_threads_that_want_different_models_never_see_anothers():
    engine = Loader()
    warm = WarmModel(engine)
    wrong = []

    def use(name):
        for _ in range(20):
            with warm.use(ModelFiles(name)) as loaded:
                if loaded != f"loaded {name}":
                    wrong.append(loaded)

    for thread in in_threads(*[lambda name=name: use(name) for name in "abc"]):
        thread.join(WAIT_SECS)
        assert not thread.is_alive()
    assert wrong == []


def test_a_model_that_waits_comes_before_jobs_that_came_later_for_the_present_one(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    engine = Loader()
    warm = WarmModel(engine)
    present, other = (ModelFiles(id=name, files={"model": [tmp_path / name]}) for name in "ab")
    warm.take(present)
    order: list[str] = []

    def want(model: ModelFiles) -> threading.Thread:
        def use() -> None:
            with warm.use(model):
                order.append(model.id)

        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        return thread

    waiting = want(other)
    while not warm._is_switching:
        threading.Event().wait(0.001)
    later = want(present)
    later.join(0.05)
    assert order == []
    warm.give_back()
    for thread in (waiting, later):
        thread.join(WAIT_SECS)
    assert order == ["b", "a"]
    assert engine.events == ["load a", "unloaded a", "load b", "unloaded b", "load a"]
