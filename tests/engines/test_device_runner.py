"""An engine's processes on several devices: one each, which sees its own alone."""

import asyncio
import os

import psutil
import pytest

from studio_worker.engines.base import Estimate
from studio_worker.engines.devices import Devices
from studio_worker.errors import EngineError
from studio_worker.testing.devices import FakeDevices

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""

SEEING = """
def load(self, model):
    return model.options.device

def run(self, job):
    env = {name: os.environ.get(name) for name in ("CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")}
    return say(pid=os.getpid(), env=env, device=job.options.device, loaded=job.loaded)

def estimate(self, model):
    return Estimate(vram_bytes=os.getpid())
"""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


@pytest.fixture
def two_gpus():
    return Devices(FakeDevices(gpus_gib=(12, 12)).devices())


@pytest.fixture
def on(tmp_path, model_files):
    def model(device):
        return model_files(tmp_path, "m.bin", device=device)

    return model


async def test_each_device_has_a_process_that_sees_it_alone_as_the_first(workshop, two_gpus, on, monkeypatch):
    monkeypatch.delenv("HIP_VISIBLE_DEVICES", raising=False)
    host = workshop.host(SEEING, devices=two_gpus)
    first, second, cpu = [await workshop.run(host, model=on(device)) for device in ("cuda:0", "cuda:1", "cpu")]
    assert len({seen["pid"] for seen in (first, second, cpu)}) == 3
    for seen, number in ((first, "0"), (second, "1")):
        assert (seen["env"]["CUDA_DEVICE_ORDER"], seen["env"]["CUDA_VISIBLE_DEVICES"]) == ("PCI_BUS_ID", number)
        assert (seen["device"], seen["loaded"]) == ("cuda:0", "cuda:0")
    assert (cpu["env"]["CUDA_VISIBLE_DEVICES"], cpu["env"]["HIP_VISIBLE_DEVICES"]) == ("-1", "-1")
    assert cpu["device"] == "cpu"


async def test_the_workers_own_choice_of_gpus_gives_way_to_the_jobs(workshop, two_gpus, on, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    host = workshop.host(SEEING, devices=two_gpus)
    assert (await workshop.run(host, model=on("cuda:1")))["env"]["CUDA_VISIBLE_DEVICES"] == "1"


async def test_two_devices_run_two_jobs_of_an_engine_at_the_same_time(workshop, two_gpus, on, tmp_path):
    body = f"""
        def run(self, job):
            mine = Path({str(tmp_path)!r}) / os.environ["CUDA_VISIBLE_DEVICES"]
            mine.touch()
            other = mine.with_name("1" if mine.name == "0" else "0")
            while not other.exists(): time.sleep(0.002)
            return say(pid=os.getpid())
    """
    host = workshop.host(body, devices=two_gpus)
    one, two = await within(asyncio.gather(*(workshop.run(host, model=on(device)) for device in ("cuda:0", "cuda:1"))))
    assert one["pid"] != two["pid"]


async def test_a_job_without_a_device_runs_beside_the_largest_gpu(workshop, on):
    host = workshop.host(SEEING, devices=Devices(FakeDevices(gpus_gib=(8, 24)).devices()))
    homely = await workshop.run(host, model=on(None))
    assert (homely["device"], homely["env"]["CUDA_VISIBLE_DEVICES"]) == (None, "1")
    assert (await workshop.run(host, model=on("cuda:1")))["pid"] == homely["pid"]


async def test_an_estimate_is_asked_in_the_process_of_its_device(workshop, two_gpus, on):
    host = workshop.host(SEEING, devices=two_gpus)
    pid = (await workshop.run(host, model=on("cuda:1")))["pid"]
    assert await within(host.estimate(workshop.call(host).route, on("cuda:1"))) == Estimate(0, pid)


async def test_unloading_a_device_leaves_the_others_alone(workshop, two_gpus, on):
    host = workshop.host(SEEING, devices=two_gpus)
    pids = [(await workshop.run(host, model=on(device)))["pid"] for device in ("cuda:0", "cuda:1")]
    key = host.descriptions[0].key
    assert await within(host.unload(key, "cuda:0"))
    assert [psutil.pid_exists(pid) for pid in pids] == [False, True]
    assert await within(host.unload(key))
    assert not psutil.pid_exists(pids[1])


async def test_stopping_and_closing_end_the_processes_of_all_devices(workshop, two_gpus, on):
    host = workshop.host(SEEING, devices=two_gpus)
    for end in (lambda: host.stop(host.descriptions[0].key), host.aclose):
        pids = [(await workshop.run(host, model=on(device)))["pid"] for device in ("cuda:0", "cuda:1")]
        await within(end())
        assert not any(map(psutil.pid_exists, pids))


async def test_a_job_that_hangs_on_one_device_ends_the_process_of_that_device(workshop, two_gpus, on, tmp_path, until):
    started = tmp_path / "started"
    body = f"""
        def run(self, job):
            if words(job) == "hang":
                Path({str(started)!r}).touch()
                time.sleep(600)
            return say(pid=os.getpid())
    """
    host = workshop.host(body, devices=two_gpus, cancel_grace_secs=0.05)
    other = (await workshop.run(host, model=on("cuda:1")))["pid"]
    call = workshop.call(host, "hang", model=on("cuda:0"))
    running = asyncio.create_task(host.run(call))
    await until(started.exists)
    assert host.end_job(call.job_id, "no step for 60 s")
    await asyncio.wait([running])
    await until(lambda: workshop.deaths)
    assert workshop.deaths[0][2] == "it hung (no step for 60 s)"
    assert (await workshop.run(host, model=on("cuda:1")))["pid"] == other
    assert other != os.getpid()
    running.exception()


DYING_ON_THE_FIRST = """
def __init__(self):
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "0":
        os._exit(3)
    super().__init__()

def run(self, job):
    return say(pid=os.getpid())
"""


async def test_an_engine_rests_only_once_each_gpu_has_had_its_process(workshop, two_gpus, on, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    host = workshop.host(DYING_ON_THE_FIRST, devices=two_gpus)
    engine = host.descriptions[0].key
    assert host.restarts(engine) == ()
    with pytest.raises(EngineError, match="exit status 3"):
        await workshop.run(host, model=on("cuda:0"))
    assert host.restarts(engine) == ()
    await workshop.run(host, model=on("cuda:1"))
    assert [each.refusal("toy") is not None for each in host.restarts(engine)] == [True, False]
