"""A worker and its devices: who runs where, what is refused, what is told of the memory."""

import asyncio

import pytest

from studio_worker import Engine, EngineCapabilities, Needs, TaskKind, Worker
from studio_worker.errors import ConfigError, EngineError, JobCancelled, NoEngine, OutOfMemory
from studio_worker.machine import GIB
from studio_worker.testing.devices import FakeDevices
from studio_worker.wire.model_source import parse_model_source

from .conftest import NOT_HERE

ENGINES = """
import os, time
from pathlib import Path

from studio_worker import Engine, EngineCapabilities, Estimate, LlmResult, TaskKind

FOLDER = Path({folder!r})


class Seer(Engine):
    '''Says what it sees; one that is told to meet another waits until that runs as well.'''

    name = "seer"

    def capabilities(self):
        return EngineCapabilities({{TaskKind.LLM: ["seer:*"]}})

    def load(self, model):
        if model.id == "slow":
            self.be_deaf("loading")

    def be_deaf(self, name):
        (FOLDER / name).touch()
        while not (FOLDER / "heard").exists():
            time.sleep(0.002)

    def run(self, job):
        said = job.task.messages[-1].content
        mine = FOLDER / f"{{job.id}}.running"
        mine.touch()
        most = len(list(FOLDER.glob("*.running")))
        while said == "meet" and most < 2:
            most = len(list(FOLDER.glob("*.running")))
            time.sleep(0.002)
        if said == "meet":
            (FOLDER / f"{{job.id}}.met").touch()
            while len(list(FOLDER.glob("*.met"))) < 2:
                time.sleep(0.002)
        if said == "die":
            os._exit(3)
        if said == "deaf":
            self.be_deaf("deaf")
        mine.unlink()
        seen = [os.getpid(), most, os.environ.get("CUDA_VISIBLE_DEVICES"), job.options.device]
        message = {{"role": "assistant", "content": " ".join(map(str, seen))}}
        usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        choice = {{"index": 0, "message": message, "finish_reason": "stop"}}
        return LlmResult({{"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage}})


class Other(Seer):
    name = "other"

    def capabilities(self):
        return EngineCapabilities({{TaskKind.LLM: ["other:*"]}})


def make():
    return Seer()


def make_other():
    return Other()
"""


@pytest.fixture
def seer(tmp_path, monkeypatch):
    folder = tmp_path / "seen"
    folder.mkdir()
    (tmp_path / "seer_engine.py").write_text(ENGINES.format(folder=str(folder)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return "seer_engine:make"


@pytest.fixture
def ask(words, soon):
    """Runs jobs at once; what each has seen: its process, how many ran, its GPUs, its device."""
    source = parse_model_source({"engine": "seer"})

    async def run(worker, *said, model="m"):
        jobs = [worker.submit(words(each), model=model, source=source) for each in said]
        answers = await soon(asyncio.gather(*jobs))
        return [answer.json["choices"][0]["message"]["content"].split() for answer in answers]

    return run


async def test_two_gpus_run_two_jobs_at_the_same_time_in_two_processes(settings, seer, ask):
    rig = FakeDevices(gpus_gib=(12, 12))
    async with Worker(settings(max_concurrent_jobs=2), engines=[seer], devices=rig) as worker:
        one, two = await ask(worker, "meet", "meet")
    assert one[0] != two[0]
    assert (one[1], two[1]) == ("2", "2")
    assert {one[2], two[2]} == {"0", "1"}
    assert (one[3], two[3]) == ("cuda:0", "cuda:0")


async def test_one_gpu_runs_one_job_after_the_other(settings, seer, ask):
    rig = FakeDevices(gpus_gib=(12,))
    async with Worker(settings(max_concurrent_jobs=3), engines=[seer], devices=rig) as worker:
        seen = await ask(worker, "one", "two", "three")
    assert [each[1:] for each in seen] == [["1", "0", "cuda:0"]] * 3
    assert len({each[0] for each in seen}) == 1


async def test_a_worker_of_the_cpu_keeps_its_engines_off_the_gpus(settings, seer, ask):
    rig = FakeDevices(gpus_gib=(12, 12))
    async with Worker(settings(device="cpu"), engines=[seer], devices=rig) as worker:
        (seen,) = await ask(worker, "hello")
    assert seen[1:] == ["1", "-1", "cpu"]


async def test_without_gpus_an_engine_sees_what_the_worker_sees(settings, seer, ask):
    async with Worker(settings(), engines=[seer], devices=FakeDevices()) as worker:
        (seen,) = await ask(worker, "hello")
    assert seen[1:] == ["1", "None", "None"]


@pytest.mark.parametrize(
    ("given", "setting", "name"),
    [
        ({"device": "cuda:7"}, "device", "cuda:7"),
        ({"device": "gpu"}, "device", "gpu"),
        ({"plugins": {"whisper": {"device": "cuda:2"}}}, "plugins.whisper.device", "cuda:2"),
    ],
)
async def test_a_device_that_is_not_here_ends_the_start_with_those_that_are(given, setting, name, settings):
    with pytest.raises(ConfigError) as refused:
        async with Worker(settings(**given), devices=FakeDevices(gpus_gib=(12,))):
            pass
    assert str(refused.value) == (
        f"{setting}: the device '{name}' is not here: this machine has cpu (Fake CPU), cuda:0 (Fake GPU 0); "
        "set `device` to one of them or leave it out"
    )
    assert refused.value.exit_code == 78


async def test_a_plugins_table_names_the_device_of_its_engines(settings, site, words, soon):
    site.install("one", isolation="process")
    config = settings(device="cuda:1", plugins={"one": {"device": "cuda:0"}}, disabled_engines=NOT_HERE)
    assert (config.device_of("one"), config.device_of("two")) == ("cuda:0", "cuda:1")
    async with Worker(config, devices=FakeDevices(gpus_gib=(12, 12))) as worker:
        await soon(worker.submit(words(), model="m", source=parse_model_source({"engine": "one"})))
        assert [resident.device for resident in worker._residency.residents] == ["cuda:0"]


async def test_a_job_whose_gpu_died_with_its_engine_leaves_the_others_to_the_next(settings, seer, ask, soon):
    rig = FakeDevices(gpus_gib=(12, 12))
    async with Worker(settings(max_concurrent_jobs=2), engines=[seer], devices=rig) as worker:
        rig.lose("cuda:0")
        with pytest.raises(EngineError, match="exit status 3"):
            await ask(worker, "die")
        while rig.asked < 2:
            await asyncio.sleep(0.005)
        (seen,) = await ask(worker, "hello")
        assert (seen[2], [gpu.id for gpu in worker._finder.devices.gpus]) == ("1", ["cuda:1"])


async def test_a_process_that_was_idle_for_its_time_is_counted_no_more(settings, seer, ask):
    rig = FakeDevices(gpus_gib=(12,))
    async with Worker(settings(engine_idle_secs=0.05), engines=[seer], devices=rig) as worker:
        await ask(worker, "hello")
        assert len(worker._residency.residents) == 1
        async with asyncio.timeout(20):
            while worker._residency.residents:
                await asyncio.sleep(0.005)


def users(worker):
    """By model, how many jobs use it; those that are loaded and idle too."""
    return {resident.key.partition("#")[0]: resident.users for resident in worker._residency.residents}


async def become(condition, value):
    async with asyncio.timeout(20):
        while condition() != value:
            await asyncio.sleep(0.005)


async def test_a_gpu_is_not_anothers_before_the_engine_of_a_cancelled_job_has_let_go(settings, seer, words, tmp_path):
    """Each of the two engines has a process of its own: nothing but the GPU keeps the second job waiting."""
    seen = tmp_path / "seen"
    rig = FakeDevices(gpus_gib=(12,))
    source, other = (parse_model_source({"engine": name}) for name in ("seer", "other"))
    config = settings(max_concurrent_jobs=2)
    async with Worker(config, engines=[seer, "seer_engine:make_other"], devices=rig) as worker:
        deaf = worker.submit(words("deaf"), model="one", source=source)
        await become((seen / "deaf").exists, True)
        deaf.cancel()
        with pytest.raises(JobCancelled):
            await deaf
        next_job = worker.submit(words("hello"), model="two", source=other)
        await become(lambda: users(worker).get("two"), 1)
        assert users(worker) == {"one": 1, "two": 1}
        (seen / "heard").touch()
        async with asyncio.timeout(20):
            answer = await next_job
        assert answer.json["choices"][0]["message"]["content"].split()[1] == "1"
        await become(lambda: users(worker), {"one": 0, "two": 0})


async def test_a_model_that_was_loaded_for_a_cancelled_job_is_counted(settings, seer, words, tmp_path):
    seen = tmp_path / "seen"
    rig = FakeDevices(gpus_gib=(12,))
    async with Worker(settings(), engines=[seer], devices=rig) as worker:
        job = worker.submit(words(), model="slow", source=parse_model_source({"engine": "seer"}))
        await become((seen / "loading").exists, True)
        job.cancel()
        with pytest.raises(JobCancelled):
            await job
        assert users(worker) == {"slow": 1}
        (seen / "heard").touch()
        await become(lambda: users(worker), {"slow": 0})


class Followed:
    """Settings that a test changes while a worker runs."""

    def __init__(self, config):
        self.config = config

    def refresh(self):
        return self.config


async def test_a_pinned_model_keeps_its_process_until_it_is_pinned_no_more(settings, seer, ask):
    source = Followed(settings(pinned_models=("org/mine",)))
    rig = FakeDevices(gpus_gib=(12,))
    async with Worker(source.config, config_source=source, engines=[seer], devices=rig) as worker:
        await ask(worker, "hello", model="org/mine")
        with pytest.raises(OutOfMemory, match=r"holds one model at a time, and keeps 'org/mine#\w+' \(idle, pinned\)"):
            await ask(worker, "hello", model="org/other")
        await ask(worker, "hello", model="org/mine")
        source.config = source.config.model_copy(update={"pinned_models": ()})
        await ask(worker, "hello", model="org/other")


class Hungry(Engine):
    name = "hungry"
    isolation = "loop"
    needs = Needs(gpu="nvidia", vram_bytes=8 * GIB)

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["hungry:*"]})

    async def run(self, job):
        raise NotImplementedError


async def test_an_engine_whose_gpu_is_not_here_is_shown_and_refused_with_the_reason(settings, words):
    async with Worker(settings(), engines=[Hungry()], devices=FakeDevices()) as worker:
        assert "hungry" not in worker.routes.sources_per_kind[TaskKind.LLM]
        with pytest.raises(NoEngine, match="unavailable because it needs an NVIDIA GPU, and this machine has none"):
            await worker.submit(words(), model="m", source=parse_model_source({"engine": "hungry"}))


async def test_an_engine_whose_gpu_disappears_is_served_no_more(settings):
    devices = FakeDevices(gpus_gib=(8,))
    async with Worker(settings(), engines=[Hungry()], devices=devices) as worker:
        assert "hungry" in worker.routes.sources_per_kind[TaskKind.LLM]
        devices.lose("cuda:0")
        await worker._look_at_devices()
        assert "hungry" not in worker.routes.sources_per_kind[TaskKind.LLM]
        (engine,) = [engine for engine in worker.engines if engine.name == "hungry"]
        assert engine.status == "unavailable"
