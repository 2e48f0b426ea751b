"""Room for models before their engines run: who is asked, who has to go, who is told."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from studio_worker.engines.base import Estimate
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.devices import Devices
from studio_worker.engines.job_watch import Held
from studio_worker.engines.router import Route
from studio_worker.errors import EngineError, OutOfMemory
from studio_worker.jobs.admission import Admission
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.models.residency import Residency
from studio_worker.testing.devices import FakeDevices
from studio_worker.wire.kinds import TaskKind

MIB = 1024**2


class Engines:
    """A host that says what it is told to say, and notes what it is asked."""

    def __init__(self) -> None:
        self.needs: dict[str, Estimate] = {}
        self.asked: list[str] = []
        self.unloaded: list[str] = []
        self.is_stubborn = self.is_silent = False

    async def estimate(self, route, model):
        self.asked.append(model.id)
        if self.is_silent:
            raise EngineError("it did not say")
        return self.needs.get(model.id)

    async def unload(self, engine, device=None):
        self.unloaded.append(engine[0] if device is None else f"{engine[0]} on {device}")
        return not self.is_stubborn


@pytest.fixture
def engines():
    return Engines()


@pytest.fixture
def residency(clock):
    return Residency(lambda: {"cpu": 100 * MIB}, clock=clock)


@pytest.fixture
def admission(engines, residency):
    return Admission(engines, residency, Devices(FakeDevices().devices()))


@pytest.fixture
def model(tmp_path):
    def make(name="m", size=1024, **options):
        path = tmp_path / f"{name}.bin"
        if not path.exists():
            path.write_bytes(b"x" * size)
        return ModelFiles(id=name, files={"model": [path]}, options=LoadOptions(**options), dir=tmp_path)

    return make


def route(engine="toy", isolation="process"):
    description = EngineDescription(
        name=engine,
        distribution=engine,
        version="1",
        plugin=engine,
        sources=(engine,),
        models={TaskKind.LLM: (f"{engine}:*",)},
        isolation=isolation,
    )
    return Route(description, TaskKind.LLM, "m", engine, "source")


@asynccontextmanager
async def used(admission, where, model):
    """A room in which the model is loaded."""
    async with admission.room(where, model) as room:
        room.loaded(Held())
        yield room


def keys(residency):
    return [(each.key.split("#")[0], each.engine, each.device, each.users) for each in residency.residents]


async def test_a_model_is_counted_while_it_is_used_and_stays_afterwards(admission, engines, residency, model):
    engines.needs["m"] = Estimate(ram_bytes=10 * MIB)
    async with used(admission, route(), model()):
        assert keys(residency) == [("m", "toy", "cpu", 1)]
    assert keys(residency) == [("m", "toy", "cpu", 0)]
    assert residency.residents[0].ram_bytes == 10 * MIB


async def test_an_engine_is_asked_once_for_a_model(admission, engines, model):
    for _ in range(3):
        async with admission.room(route(), model()):
            pass
    assert engines.asked == ["m"]


async def test_where_the_engine_says_nothing_the_files_sizes_count(admission, residency, model):
    async with admission.room(route(), model(size=4_096)):
        assert residency.residents[0].ram_bytes == 4_096


async def test_other_options_make_another_load(admission, engines, model):
    for threads in (1, 2):
        async with admission.room(route(), model(threads=threads)):
            pass
    assert engines.asked == ["m", "m"]


async def test_a_second_model_makes_room_by_unloading_the_idle_one(admission, engines, residency, model):
    engines.needs |= {"a": Estimate(ram_bytes=60 * MIB), "b": Estimate(ram_bytes=70 * MIB)}
    async with used(admission, route("first"), model("a")):
        pass
    async with used(admission, route("second"), model("b")):
        assert engines.unloaded == ["first"]
        assert keys(residency) == [("b", "second", "cpu", 1)]


async def test_a_model_in_use_is_waited_for(admission, engines, model):
    engines.needs |= {"a": Estimate(ram_bytes=60 * MIB), "b": Estimate(ram_bytes=70 * MIB)}
    order = []

    async def use(name):
        async with used(admission, route(name), model(name)):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(used(admission, route("a"), model("a")))
        waiting = asyncio.create_task(use("b"))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert order == []
    await waiting
    assert order == ["b in", "b out"]
    assert engines.unloaded == ["a"]


async def test_what_can_never_fit_is_refused_with_the_figures(admission, engines, model):
    engines.needs["m"] = Estimate(ram_bytes=200 * MIB)
    with pytest.raises(OutOfMemory, match=r"needs 200\.0 MiB of cpu, 100\.0 MiB of 100\.0 MiB free"):
        async with admission.room(route(), model()):
            pass
    assert engines.unloaded == []


async def test_an_engine_that_keeps_its_memory_fails_the_job_that_needs_it(admission, engines, model):
    engines.needs |= {"a": Estimate(ram_bytes=60 * MIB), "b": Estimate(ram_bytes=70 * MIB)}
    async with used(admission, route("first"), model("a")):
        pass
    engines.is_stubborn = True
    with pytest.raises(OutOfMemory, match="kept its memory") as refused:
        async with used(admission, route("second"), model("b")):
            pass
    assert refused.value.retryable


async def test_an_engine_that_loads_another_model_has_dropped_its_last(admission, residency, model):
    for name in ("a", "b"):
        async with used(admission, route(), model(name)):
            pass
    assert keys(residency) == [("b", "toy", "cpu", 0)]


async def test_a_dead_process_holds_nothing(admission, residency, model):
    where = route()
    async with used(admission, where, model()):
        pass
    admission.ended(where.engine.key, None)
    admission.ended(where.engine.key, None)
    assert residency.residents == ()


async def test_a_device_that_nobody_knows_is_the_engines_business(admission, residency, model):
    async with admission.room(route(), model(device="vulkan:0")):
        assert keys(residency) == [("m", "toy", "cpu", 1)]


@pytest.mark.parametrize("isolation", ["loop", "thread"])
async def test_only_engines_that_load_files_need_room(admission, engines, residency, model, isolation):
    files = model() if isolation == "loop" else ModelFiles(id="m")
    async with admission.room(route(isolation=isolation), files):
        assert residency.residents == ()
    assert engines.asked == []


async def test_where_no_device_is_known_nothing_is_counted(engines, clock, model):
    admission = Admission(engines, Residency(dict, clock=clock), Devices())
    async with admission.room(route(), model(size=5)) as room:
        assert engines.asked == []
        assert room.size_bytes == 5
        room.loaded(Held(1, 2))


async def test_values_for_the_chat_template_make_no_other_load(admission, engines, residency, model):
    for thinking in (True, False):
        async with used(admission, route(), model(chat_template_kwargs={"thinking": thinking})):
            pass
    assert engines.asked == ["m"]
    assert len(residency.residents) == 1


async def test_an_engine_that_did_not_answer_is_asked_again_by_the_next_job(admission, engines, residency, model):
    engines.needs["m"] = Estimate(ram_bytes=7 * MIB)
    engines.is_silent = True
    async with admission.room(route(), model()):
        assert residency.residents[0].ram_bytes == 1024
    engines.is_silent = False
    for _ in range(2):
        async with admission.room(route(), model()):
            assert residency.residents[0].ram_bytes == 7 * MIB
    assert engines.asked == ["m", "m"]


# what is measured


async def test_what_was_measured_takes_the_place_of_what_was_said(admission, engines, residency, model):
    engines.needs["m"] = Estimate(ram_bytes=10 * MIB)
    async with admission.room(route(), model()) as room:
        room.loaded(Held(ram_bytes=30 * MIB))
    assert residency.residents[0].ram_bytes == 30 * MIB


async def test_what_nobody_could_measure_stays_as_it_was_said(admission, engines, residency, model):
    engines.needs["m"] = Estimate(ram_bytes=10 * MIB, vram_bytes=5 * MIB)
    async with admission.room(route(), model()) as room:
        room.loaded(Held(ram_bytes=20 * MIB))
    assert (residency.residents[0].ram_bytes, residency.residents[0].vram_bytes) == (20 * MIB, 5 * MIB)


async def test_a_model_whose_load_failed_holds_nothing(admission, residency, model):
    with pytest.raises(OutOfMemory):
        async with admission.room(route(), model()):
            raise OutOfMemory("it did not fit")
    assert residency.residents == ()


async def test_a_failed_job_on_a_loaded_model_leaves_it_loaded(admission, residency, model):
    async with admission.room(route(), model()) as room:
        room.loaded(Held())
    with pytest.raises(ValueError, match="odd"):
        async with admission.room(route(), model()):
            raise ValueError("odd")
    assert len(residency.residents) == 1


async def test_a_process_that_ended_while_its_next_was_asked_for_does_not_take_the_new_model_along(
    admission, residency, model
):
    where = route()
    async with used(admission, where, model()):
        pass
    async with admission.room(where, model()) as room:
        admission.ended(where.engine.key, None)
        room.loaded(Held())
    assert keys(residency) == [("m", "toy", "cpu", 0)]


async def test_idle_models_go_where_one_turned_out_larger_than_there_is_room_for(admission, engines, model):
    engines.needs |= {name: Estimate(ram_bytes=40 * MIB) for name in "ab"}
    async with used(admission, route("first"), model("a")):
        pass
    async with admission.room(route("second"), model("b")) as room:
        room.loaded(Held(ram_bytes=80 * MIB))
    assert engines.unloaded == []
    async with admission.room(route("second"), model("b")):
        assert engines.unloaded == ["first"]


# one model at a time in a process


async def test_alternating_jobs_of_one_engine_load_each_model_once_and_never_end_its_process(
    admission, engines, residency, model
):
    order, tasks = [], []

    async def use(name):
        async with used(admission, route(), model(name)):
            order.append(name)

    async with used(admission, route(), model("A")):
        order.append("A")
        for name in "BAACABC":
            asked = len(residency.waiting) + len(order)
            tasks.append(asyncio.create_task(use(name)))
            while len(residency.waiting) + len(order) == asked:
                await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert "".join(order) == "AAAABBCC"
    assert engines.unloaded == []
