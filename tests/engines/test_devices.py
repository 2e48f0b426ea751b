"""Devices: which job gets which, what its process sees of them, and what happens when one is gone."""

import pytest

from studio_worker.engines.devices import Device, Devices, MachineDevices, seen_as, variables, visible
from studio_worker.errors import EngineError
from studio_worker.machine import GIB, NvidiaGpu
from studio_worker.testing.devices import FakeDevices


@pytest.fixture
def rig():
    return FakeDevices(ram_gib=64, gpus_gib=(12, 12))


@pytest.fixture
def devices(rig):
    return Devices(rig.devices())


def given(devices, name="cuda", **favours):
    return devices.hand_out(devices.named(name), **favours).device.id


# which one


def test_two_gpus_run_two_jobs(devices):
    assert [given(devices), given(devices)] == ["cuda:0", "cuda:1"]


def test_a_device_that_was_given_back_once_is_free_again(devices):
    first = devices.hand_out(devices.gpus)
    first.give_back()
    first.give_back()
    assert [given(devices), given(devices), given(devices)] == ["cuda:0", "cuda:1", "cuda:0"]


def test_of_two_idle_gpus_the_larger_one_is_taken():
    assert given(Devices(FakeDevices(gpus_gib=(8, 24)).devices())) == "cuda:1"


def test_a_job_goes_where_its_model_is_loaded(devices):
    assert given(devices, warm={"cuda:1"}) == "cuda:1"


def test_a_job_goes_to_a_free_gpu_rather_than_to_its_models(devices):
    busy = devices.hand_out(devices.named("cuda:1"))
    assert given(devices, warm={"cuda:1"}) == "cuda:0"
    busy.give_back()


def test_a_new_model_goes_where_least_is_held(devices):
    assert given(devices, held={"cuda:0": 5 * GIB}) == "cuda:1"


def test_a_named_device_is_given_however_loaded_it_is(devices):
    assert [given(devices, "cuda:1") for _ in range(3)] == ["cuda:1"] * 3
    assert given(devices, "cpu") == "cpu"


def test_a_kind_that_is_not_listed_here_is_the_engines_business(devices):
    assert devices.named("vulkan:1") == devices.named("metal") == ()


@pytest.mark.parametrize("name", ["cuda:7", "cdua:0", "gpu", "cpu:0", "CPU", ""])
def test_a_device_that_is_not_here_is_named_with_those_that_are(name, devices):
    with pytest.raises(EngineError) as caught:
        devices.named(name)
    assert str(caught.value) == (
        f"the device '{name}' is not here: this machine has cpu (Fake CPU), cuda:0 (Fake GPU 0), cuda:1 (Fake GPU 1); "
        "set `device` to one of them or leave it out"
    )


def test_any_gpu_is_not_here_where_there_is_none():
    with pytest.raises(EngineError, match="'cuda' is not here: this machine has cpu"):
        Devices(FakeDevices().devices()).named("cuda")


def test_a_name_from_a_file_forges_no_line(devices):
    with pytest.raises(EngineError) as caught:
        devices.named("cuda\n:0")
    assert "\n" not in str(caught.value)


# where an engine's process lives


def test_a_process_without_a_device_lives_with_the_largest_gpu():
    devices = Devices(FakeDevices(gpus_gib=(8, 24, 24)).devices())
    assert (devices.home, devices.place(None), devices.place("cuda:0")) == ("cuda:1", "cuda:1", "cuda:0")


def test_without_gpus_it_lives_nowhere_in_particular():
    devices = Devices(FakeDevices().devices())
    assert (devices.home, devices.place(None), devices.place("cpu")) == (None, None, "cpu")


# what it sees


def test_a_process_sees_its_own_gpu_alone_and_calls_it_the_first():
    assert variables("cuda:2") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "2"}
    assert seen_as("cuda:2") == "cuda:0"


def test_a_process_of_the_cpu_sees_no_gpu():
    assert variables("cpu") == {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1"}
    assert seen_as("cpu") == "cpu"


@pytest.mark.parametrize("device", [None, "vulkan:1", "cuda"])
def test_a_process_with_no_device_of_ours_sees_what_the_worker_sees(device):
    assert variables(device) == {}
    assert seen_as(device) == device


# what comes and goes


def test_a_device_that_disappears_takes_only_its_own_capacity_along(devices, rig):
    running = devices.hand_out(devices.named("cuda:0"))
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


# this machine


def test_this_machine_has_a_cpu_with_memory():
    cpu = MachineDevices().devices()[0]
    assert cpu.id == "cpu"
    assert cpu.total_bytes > 0


GPUS = tuple(NvidiaGpu(index, f"GPU {index}", GIB, f"GPU-{index}aa-bb") for index in range(3))


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("2, 0", [0, 2]),
        ("GPU-1aa", [1]),
        ("0,7,2", [0]),
        ("MIG-1", []),
    ],
)
def test_only_the_gpus_that_the_operator_lets_cuda_see_count(setting, left):
    assert [gpu.index for gpu in visible(GPUS, setting)] == left
