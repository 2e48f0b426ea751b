import threading
from pathlib import Path

import pytest

from studio_worker import machine


def card(drm: Path, name: str, **files: int) -> None:
    folder = drm / name / "device"
    folder.mkdir(parents=True)
    for file, size in files.items():
        (folder / file).write_text(f"{size}\n")


def test_this_machine_has_a_name_and_a_user():
    here = machine.probe()
    assert here.name
    assert here.username


async def test_a_driver_that_hangs_leaves_the_machine_unknown(monkeypatch, caplines):
    answered = threading.Event()
    monkeypatch.setattr(machine, "PROBE_SECS", 0.01)
    monkeypatch.setattr(machine, "probe", answered.wait)
    assert await machine.look_at_machine() == machine.UNKNOWN
    assert [line["event"] for line in caplines] == ["worker.probe"]
    answered.set()


def test_the_largest_gpu_counts_and_not_the_sum():
    assert machine.Machine("rig", "ada", (12.0, 12.0, 8.0)).vram_total_gb == 12.0
    assert machine.Machine("rig", "ada").vram_total_gb == 0.0


def test_every_amd_card_is_read(tmp_path):
    card(tmp_path, "card0", mem_info_vram_total=8 * machine.GIB)
    card(tmp_path, "card1", mem_info_vram_total=16 * machine.GIB, mem_info_gtt_total=64 * machine.GIB)
    assert machine._amd(tmp_path) == (8.0, 16.0)


def test_an_apu_counts_its_shared_memory(tmp_path):
    card(tmp_path, "card0", mem_info_vram_total=machine.GIB // 2, mem_info_gtt_total=15 * machine.GIB)
    assert machine._amd(tmp_path) == (15.5,)


def test_a_card_that_cannot_be_read_is_skipped(tmp_path):
    card(tmp_path, "card0", mem_info_vram_total=0)
    (tmp_path / "card0/device/mem_info_vram_total").write_text("what?")
    card(tmp_path, "card1", mem_info_vram_total=8 * machine.GIB)
    assert machine._amd(tmp_path) == (8.0,)


def test_an_unknown_user_is_no_error(monkeypatch):
    def nobody() -> str:
        raise KeyError("uid not found: 4711")

    monkeypatch.setattr(machine.getpass, "getuser", nobody)
    assert machine.probe().username == "unknown-user"


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has an NVIDIA GPU")
def test_without_a_driver_no_gpu_is_claimed():
    assert machine._nvidia() == ()
