"""Finding devices, and comparing them with what the settings name."""

import asyncio
import threading

import pytest

from studio_worker.engines import device_finder
from studio_worker.engines.device_finder import DeviceFinder
from studio_worker.testing.devices import FakeDevices


@pytest.fixture
def rig():
    return FakeDevices(gpus_gib=(12,))


@pytest.fixture
async def finder(rig):
    found = DeviceFinder(rig)
    await found.look()
    return found


async def test_before_the_first_look_nothing_is_known_and_nothing_is_missing(rig):
    finder = DeviceFinder(rig)
    assert finder.devices.known == ()
    assert finder.missing({"device": "cuda:9"}) is None


async def test_each_look_sees_what_is_there_now(finder, rig):
    assert [gpu.id for gpu in finder.devices.gpus] == ["cuda:0"]
    rig.lose("cuda:0")
    await finder.look()
    assert finder.devices.gpus == ()


async def test_a_driver_that_hangs_leaves_what_was_known(finder, rig, monkeypatch):
    monkeypatch.setattr(device_finder, "LOOK_SECS", 0.01)
    monkeypatch.setattr(rig, "devices", threading.Event().wait)
    for _ in range(50):
        await asyncio.wait_for(finder.look(), 20)
    assert [gpu.id for gpu in finder.devices.gpus] == ["cuda:0"]


async def test_the_first_device_that_is_missing_is_told_with_the_setting_that_names_it(finder):
    assert finder.missing({"device": "cuda:0", "plugins.a.device": "cpu", "plugins.b.device": "cuda"}) is None
    assert finder.missing({"device": "cuda:0", "plugins.b.device": "cuda:1", "plugins.c.device": "x"}).startswith(
        "plugins.b.device: the device 'cuda:1' is not here: this machine has cpu (Fake CPU), cuda:0 (Fake GPU 0)"
    )


async def test_this_machine_is_looked_at_where_nobody_says_otherwise():
    finder = DeviceFinder()
    await finder.look()
    assert finder.devices.known[0].id == "cpu"
