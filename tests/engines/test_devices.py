"""Devices: which job gets which, and what happens when one is gone."""

import pytest

from studio_worker.engines.devices import Device, Devices, MachineDevices
from studio_worker.errors import EngineError
from studio_worker.machine import GIB
from studio_worker.testing.devices import FakeDevices


@pytest.fixture
def rig():
    return FakeDevices(ram_gib=64, gpus_gib=(12, 12))


@pytest.fixture
def devices(rig):
    return Devices(rig.devices())


def given(devices, wanted=None, engine="toy", **per_engine):
    return devices.hand_out(engine, wanted, per_engine).device.id


def test_two_gpus_run_two_jobs(devices):
    assert [given(devices), given(devices)] == ["cuda:0", "cuda:1"]


def test_a_device_that_was_given_back_once_is_free_again(devices):
    first = devices.hand_out("toy", None, {})
    first.give_back()
    first.give_back()
    assert [given(devices), given(devices), given(devices)] == ["cuda:0", "cuda:1", "cuda:0"]


def test_of_two_idle_gpus_the_larger_one_is_taken():
    assert given(Devices(FakeDevices(gpus_gib=(8, 24)).devices())) == "cuda:1"


def test_without_a_gpu_jobs_run_on_the_cpu():
    assert given(Devices(FakeDevices().devices())) == "cpu"


def test_the_wanted_device_is_given_however_loaded_it_is(devices):
    assert [given(devices, "cuda:1") for _ in range(3)] == ["cuda:1"] * 3
    assert given(devices, "cpu") == "cpu"


def test_what_is_set_for_the_engine_comes_before_what_is_set_for_all(devices):
    assert given(devices, "cuda:0", toy="cuda:1") == "cuda:1"
    assert given(devices, "cuda:0", other="cuda:1") == "cuda:0"


def test_a_device_that_is_not_here_is_named_with_those_that_are(devices):
    with pytest.raises(EngineError) as caught:
        given(devices, "cuda:7")
    assert str(caught.value) == (
        "engine 'toy' is to run on 'cuda:7', which is not here: this machine has cpu (Fake CPU), "
        "cuda:0 (Fake GPU 0), cuda:1 (Fake GPU 1); set `device` to one of them or leave it out"
    )


def test_a_machine_of_which_nothing_is_known_is_an_error_too():
    with pytest.raises(EngineError, match="this machine has none"):
        given(Devices(()))


def test_a_device_that_disappears_takes_only_its_own_capacity_along(devices, rig):
    running = devices.hand_out("toy", "cuda:0", {})
    rig.lose("cuda:0")
    devices.update(rig.devices())
    assert [given(devices), given(devices)] == ["cuda:1", "cuda:1"]
    assert set(devices.budget()) == {"cpu", "cuda:1"}
    with pytest.raises(EngineError, match="cuda:0"):
        given(devices, "cuda:0")
    running.give_back()


def test_a_device_that_comes_back_is_used_again(devices, rig):
    whole = rig.devices()
    devices.update(whole[:1])
    devices.update(whole)
    assert given(devices) == "cuda:0"


def test_the_budget_leaves_a_gib_of_each_device_free():
    devices = Devices((Device("cpu", "CPU", 16 * GIB), Device("cuda:0", "tiny", GIB // 2)))
    assert devices.budget() == {"cpu": 15 * GIB, "cuda:0": 0}


def test_this_machine_has_a_cpu_with_memory():
    cpu = MachineDevices().devices()[0]
    assert cpu.id == "cpu"
    assert cpu.total_bytes > 0
