"""What engines need of a machine, what it has, and what is said where the two differ."""

from dataclasses import replace

import pytest

from studio_worker.engines.base import Engine, EngineCapabilities
from studio_worker.engines.description import EngineDescription, read_reports
from studio_worker.engines.devices import Device, Devices
from studio_worker.engines.needs import Needs
from studio_worker.engines.self_report import report_of
from studio_worker.engines.surroundings import Gpu, Surroundings, lack, look_around, meet
from studio_worker.machine import GIB, Machine
from studio_worker.wire.kinds import TaskKind

OWNER = EngineDescription(name="plug", distribution="dist", version="1.0", plugin="plug", entry_point="plug")
CARD = Gpu("nvidia", "RTX 4090", 24 * GIB)
HERE = Surroundings("linux", 16 * GIB, (CARD,))
BARE = Surroundings("linux", 16 * GIB, ())


class Lama(Engine):
    name = "lama"

    def capabilities(self):
        return EngineCapabilities({TaskKind.IMAGE: ["onnx:*"]})

    def run(self, job):
        raise NotImplementedError


def described(needs: object, **changes) -> EngineDescription:
    """An engine that states these needs, as it is read from its own words."""
    engine = Lama()
    engine.needs = needs
    report = report_of(engine)
    (found,) = read_reports(
        [{**report, "needs": {**report["needs"], **changes} if changes else report["needs"]}], OWNER
    )
    return found


# what an engine states


def test_an_engine_without_needs_has_none_and_may_run_anywhere():
    assert described(None).needs is None
    assert meet([described(None)], BARE) == (described(None),)


def test_a_report_of_an_older_release_that_knows_no_needs_is_read():
    report = {key: value for key, value in report_of(Lama()).items() if key != "needs"}
    assert read_reports([report], OWNER)[0].needs is None


def test_needs_are_read_as_they_were_stated():
    needs = Needs(gpu="nvidia", vram_bytes=8 * GIB, ram_bytes=4 * GIB, platforms=("linux", "win32"))
    assert described(needs).needs == needs


@pytest.mark.parametrize(
    ("needs", "changes"),
    [
        ("a GPU", {}),
        (Needs(gpu="voodoo"), {}),
        (Needs(), {"gpu": ["nvidia"]}),
        (Needs(vram_bytes=-1), {}),
        (Needs(ram_bytes=1.5), {}),
        (Needs(vram_bytes=True), {}),
        (Needs(platforms=3), {}),
        (Needs(), {"platforms": "linux"}),
        (Needs(platforms=("li\nnux",)), {}),
        (Needs(platforms=("windows",)), {}),
    ],
    ids=str,
)
def test_needs_that_break_a_rule_break_the_engine(needs, changes):
    engine = described(needs, **changes)
    assert (engine.status, engine.name) == ("broken", "plug")
    assert "engine 'lama' needs" in engine.reason


def test_a_platform_that_there_is_not_is_named_with_those_that_there_are():
    reason = described(Needs(platforms=("windows",))).reason
    assert reason == "engine 'lama' needs the platform 'windows'; `sys.platform` says linux, darwin, win32"


# what is missing


@pytest.mark.parametrize(
    ("needs", "around", "reason"),
    [
        (Needs(platforms=("darwin", "win32")), HERE, "it runs on macOS or Windows, this is Linux"),
        (Needs(ram_bytes=32 * GIB), HERE, "it needs 32.0 GiB of memory, this machine has 16.0 GiB"),
        (Needs(gpu="nvidia"), BARE, "it needs an NVIDIA GPU, and this machine has none"),
        (Needs(gpu="amd"), HERE, "it needs an AMD GPU, and this machine has RTX 4090"),
        (Needs(gpu="any"), BARE, "it needs a GPU, and this machine has none"),
        (Needs(vram_bytes=GIB), BARE, "it needs a GPU, and this machine has none"),
        (
            Needs(gpu="nvidia", vram_bytes=48 * GIB),
            HERE,
            "it needs an NVIDIA GPU with 48.0 GiB; the largest, RTX 4090, has 24.0 GiB",
        ),
    ],
)
def test_what_is_missing_is_said_with_a_remedy(needs, around, reason):
    assert lack(needs, around) is not None
    (engine,) = meet([described(needs)], around)
    assert (engine.status, engine.reason) == ("unavailable", reason)
    assert engine.remedy


@pytest.mark.parametrize(
    ("needs", "around"),
    [
        (Needs(platforms=("linux",)), BARE),
        (Needs(ram_bytes=16 * GIB), BARE),
        (Needs(gpu="nvidia", vram_bytes=24 * GIB), HERE),
        (
            Needs(vram_bytes=12 * GIB),
            replace(HERE, gpus=(Gpu("amd", "an AMD GPU", 12 * GIB), replace(CARD, total_bytes=1))),
        ),
        # A card that is sold with 24 GiB shows a little less, and so does a machine's memory.
        (Needs(gpu="nvidia", vram_bytes=24 * GIB), replace(HERE, gpus=(replace(CARD, total_bytes=24 * GIB - 10**8),))),
        # Who cannot look keeps no engine back.
        (Needs(gpu="nvidia", vram_bytes=24 * GIB, ram_bytes=99 * GIB), Surroundings("linux", None, None)),
    ],
)
def test_an_engine_whose_needs_are_met_is_left_as_it_is(needs, around):
    assert meet([described(needs)], around) == (described(needs),)


def test_what_an_engine_says_of_itself_comes_before_its_needs():
    engine = replace(described(Needs(gpu="nvidia")), status="unavailable", reason="no onnxruntime")
    assert meet([engine], BARE) == (engine,)


# what is there


def test_nvidia_gpus_and_memory_are_those_of_the_devices():
    devices = Devices((Device("cpu", "CPU", 8 * GIB), Device("cuda:0", "RTX 4090", 24 * GIB)))
    assert Surroundings.of(Machine("m", "u", (24.0,), "nvidia"), devices, "linux") == Surroundings(
        "linux", 8 * GIB, (CARD,)
    )


def test_other_gpus_are_those_of_the_machine():
    devices = Devices((Device("cpu", "CPU", 8 * GIB),))
    found = Surroundings.of(Machine("m", "u", (16.0,), "amd"), devices)
    assert found.gpus == (Gpu("amd", "an AMD GPU", 16 * GIB),)


def test_where_nobody_could_look_nothing_is_known():
    devices = Devices((Device("cpu", "CPU", 8 * GIB),))
    assert Surroundings.of(Machine("m", "u", (), "none"), devices).gpus == ()
    assert Surroundings.of(Machine("m", "u"), devices).gpus is None
    assert Surroundings.of(Machine("m", "u", (), "none"), Devices()).gpus is None
    assert Surroundings.of(Machine("m", "u", (), "none"), Devices()).ram_bytes is None


async def test_a_look_around_finds_this_machines_memory():
    assert ((await look_around()).ram_bytes or 0) > 0
