"""Devices for jobs: who is given which, who waits for one, and what their engines see."""

import asyncio

import pytest

from studio_worker.engines.base import Estimate
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.devices import Devices
from studio_worker.engines.job_watch import Held
from studio_worker.engines.router import Route
from studio_worker.errors import EngineError
from studio_worker.jobs.admission import Admission
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.models.residency import Residency
from studio_worker.testing.devices import FakeDevices
from studio_worker.wire.kinds import TaskKind

GIB = 1024**3


class Engines:
    """Engines that need 2 GiB of a GPU unless `needs` says otherwise."""

    def __init__(self):
        self.needs: dict[str, Estimate | None] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.unloaded: list[tuple[str, str | None]] = []

    async def estimate(self, route, model):
        self.asked.append((model.id, model.options.device))
        return self.needs.get(model.id, Estimate(vram_bytes=2 * GIB))

    async def unload(self, engine, device=None):
        self.unloaded.append((engine[0], device))
        return True


class Rig:
    """An admission over made-up GPUs, and jobs that run until a test ends them."""

    def __init__(self, folder, clock, gpus_gib):
        self.folder = folder
        self.engines = Engines()
        self.devices = Devices(FakeDevices(ram_gib=64, gpus_gib=gpus_gib).devices())
        self.residency = Residency(self.devices.budget, clock=clock)
        self.admission = Admission(self.engines, self.residency, self.devices)
        self.running: dict[str, ModelFiles] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name, model="m", *, engine="toy", device=None, files=True, **about):
        found = {}
        if files:
            found = {"model": [self.folder / f"{model}.bin"]}
            if not found["model"][0].exists():
                found["model"][0].write_bytes(b"weights")
        description = EngineDescription(
            **{
                "name": engine,
                "distribution": engine,
                "version": "1",
                "plugin": engine,
                "sources": (engine,),
                "models": {TaskKind.LLM: (f"{engine}:*",)},
                "isolation": "process",
                **about,
            }
        )
        route = Route(description, TaskKind.LLM, model, engine, "source")
        wanted = ModelFiles(id=model, files=found, options=LoadOptions(device=device))
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, route, wanted))
        for _ in range(10):
            await asyncio.sleep(0.002)
        if self._tasks[name].done():
            self._tasks[name].result()

    async def end(self, name):
        self._ends[name].set()
        await self._tasks[name]
        for _ in range(5):
            await asyncio.sleep(0)

    async def ran(self, name, model="m", **about):
        await self.come(name, model, **about)
        await self.end(name)

    async def close(self):
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    @property
    def at(self):
        """Where each job runs, as its engine is told."""
        return {name: model.options.device for name, model in self.running.items()}

    async def _run(self, name, route, model):
        async with self.admission.room(route, model) as room:
            room.loaded(Held())
            self.running[name] = room.model
            try:
                await self._ends[name].wait()
            finally:
                del self.running[name]


@pytest.fixture
async def build(tmp_path, clock):
    rigs = []

    def make(*gpus_gib):
        rigs.append(Rig(tmp_path, clock, gpus_gib))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.close()


async def test_two_gpus_run_two_jobs_at_once_and_a_third_waits(build):
    rig = build(12, 12)
    for name in "abc":
        await rig.come(name, name)
    assert rig.at == {"a": "cuda:0", "b": "cuda:1"}
    await rig.end("b")
    await rig.end("a")
    assert list(rig.at) == ["c"]


async def test_one_gpu_runs_one_job_after_the_other_also_where_both_models_fit(build):
    rig = build(12)
    await rig.come("a", "a", engine="one")
    await rig.come("b", "b", engine="two")
    assert rig.at == {"a": "cuda:0"}
    await rig.end("a")
    assert rig.at == {"b": "cuda:0"}
    assert rig.engines.unloaded == []


async def test_an_engine_that_takes_several_jobs_has_them_on_one_gpu_together(build):
    rig = build(12)
    for name in "abc":
        await rig.come(name, concurrency=2)
    assert rig.at == {"a": "cuda:0", "b": "cuda:0"}


async def test_jobs_on_the_cpu_keep_off_the_gpus_and_run_beside_each_other(build):
    rig = build(12)
    await rig.come("gpu")
    for name in "ab":
        await rig.come(name, name, engine=name, device="cpu")
    assert rig.at == {"gpu": "cuda:0", "a": "cpu", "b": "cpu"}
    assert {resident.device for resident in rig.residency.residents} == {"cuda:0", "cpu"}


async def test_a_named_gpu_is_waited_for_while_another_is_free(build):
    rig = build(12, 12)
    await rig.come("a", "a", engine="one", device="cuda:1")
    await rig.come("b", "b", engine="two", device="cuda:1")
    assert rig.at == {"a": "cuda:1"}


async def test_any_gpu_may_be_asked_for(build):
    rig = build(8, 12)
    await rig.come("a", "a", device="cuda")
    await rig.come("b", "b", device="cuda")
    assert rig.at == {"a": "cuda:1", "b": "cuda:0"}


async def test_a_device_that_is_not_here_ends_the_job_with_those_that_are(build):
    with pytest.raises(EngineError, match=r"'cuda:3' is not here: this machine has cpu .*, cuda:0") as refused:
        await build(12).come("a", device="cuda:3")
    assert refused.value.retryable


async def test_a_model_that_takes_no_gpu_is_left_to_its_engine_and_holds_none(build):
    rig = build(12)
    rig.engines.needs["small"] = Estimate(ram_bytes=GIB)
    await rig.come("gpu", engine="one")
    await rig.come("small", "small", engine="two")
    assert rig.at == {"gpu": "cuda:0", "small": None}
    assert rig.engines.asked[-1] == ("small", None)


async def test_an_engine_that_says_nothing_may_use_a_gpu(build):
    rig = build(12)
    rig.engines.needs["m"] = None
    await rig.come("a")
    assert rig.at == {"a": "cuda:0"}


async def test_an_engine_in_a_process_may_use_a_gpu_also_without_files(build):
    rig = build(12)
    await rig.come("a", files=False)
    await rig.come("b", files=False)
    assert rig.at == {"a": "cuda:0"}
    assert rig.engines.asked == []


async def test_an_engine_in_a_thread_is_given_only_what_the_operator_names(build):
    rig = build(12, 12)
    await rig.come("a", engine="one", isolation="thread")
    await rig.come("b", engine="two", isolation="thread", files=False)
    await rig.come("c", engine="three", isolation="thread", files=False, device="cuda:1")
    assert rig.at == {"a": None, "b": None, "c": "cuda:1"}


async def test_without_gpus_the_engine_decides(build):
    rig = build()
    await rig.come("a")
    assert rig.at == {"a": None}


async def test_a_job_goes_back_to_the_gpu_that_holds_its_model(build):
    rig = build(12, 12)
    await rig.ran("a", "A")
    await rig.ran("b", "B")
    await rig.come("c", "B")
    await rig.come("d", "A")
    assert rig.at == {"c": "cuda:1", "d": "cuda:0"}
    assert rig.engines.unloaded == []


async def test_only_what_is_on_the_same_gpu_makes_room(build):
    rig = build(4, 4)
    await rig.ran("a", "A", engine="one", device="cuda:0")
    await rig.ran("b", "B", engine="two", device="cuda:1")
    await rig.come("c", "C", engine="three", device="cuda:1")
    assert rig.engines.unloaded == [("two", "cuda:1")]


async def test_a_device_is_free_again_after_a_job_that_was_cancelled_on_its_way_to_it(build):
    rig = build(12)
    await rig.come("a", "a", engine="one")
    await rig.come("b", "b", engine="two")
    rig._tasks["b"].cancel()
    await asyncio.wait([rig._tasks["b"]])
    await rig.end("a")
    await rig.come("c", "c", engine="three")
    assert rig.at == {"c": "cuda:0"}
    assert rig.devices._jobs == {"cuda:0": 1}
