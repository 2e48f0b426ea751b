"""What was measured outlives the worker; a file that is not ours costs one line of the log."""

import asyncio
import threading
from dataclasses import replace

import pytest

from studio_worker.engines import speeds_file
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.speeds import MAX_JOBS, MAX_PAIRS, Speeds
from studio_worker.engines.speeds_file import EVERY_SECS, LIMIT_BYTES, NAME, SpeedsKeeper, read_speeds, write_speeds
from studio_worker.testing import HandClock
from studio_worker.wire.kinds import TaskKind

OWL = EngineDescription(name="owl", distribution="owls", plugin="owl", environment="night", position=1)


def test_what_was_kept_is_read_as_it_was_and_the_file_is_private(tmp_path):
    speeds = Speeds()
    for model, secs in (("b", 1.5), ("b", 2.5), ("a", 0.125)):
        speeds.took(OWL, TaskKind.LLM, model, secs)
    speeds.took(replace(OWL, environment=""), TaskKind.IMAGE, "a", 3.0)
    write_speeds(tmp_path, speeds.times())
    assert read_speeds(tmp_path).times() == speeds.times()
    assert read_speeds(tmp_path).read() == speeds.read()
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_as_much_as_is_ever_remembered_can_be_read_again(tmp_path):
    speeds = Speeds()
    for number in range(MAX_PAIRS):
        for _ in range(MAX_JOBS):
            speeds.took(OWL, TaskKind.LLM, f"{number:04}" + "\U0001f989" * 508, 1 / 3)
    write_speeds(tmp_path, speeds.times())
    assert (tmp_path / NAME).stat().st_size < LIMIT_BYTES
    assert read_speeds(tmp_path).times() == speeds.times()


def test_without_a_file_nothing_is_known_and_nothing_said(tmp_path, log_lines):
    assert read_speeds(tmp_path).read() == ()
    assert log_lines == []


GOOD = '{"engine": "owl", "key": ["", "", "", 0], "kind": "llm", "model": "m", "secs": [%s]}'


FOREIGN = [f"[{GOOD % secs}]".encode() for secs in ("", "-1", "NaN", '"x"', "1," * 50 + "1")]


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"\xff", b"[1]", *FOREIGN])
def test_a_file_that_is_not_ours_is_passed_over_with_one_line(tmp_path, content, log_lines):
    (tmp_path / NAME).write_bytes(content)
    (tmp_path / NAME).chmod(0o600)
    assert read_speeds(tmp_path).read() == ()
    assert [line["event"] for line in log_lines] == ["speeds.read"]


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path, log_lines):
    write_speeds(tmp_path / "gone", ())
    assert [line["event"] for line in log_lines] == ["speeds.write"]


class TestKeeper:
    async def test_what_is_new_is_written_while_the_worker_works(self, tmp_path, until):
        clock = HandClock()
        keeper = SpeedsKeeper(tmp_path, clock)
        speeds = await keeper.open()
        running = asyncio.create_task(keeper.run())
        await until(lambda: len(clock.pauses) > 3)
        assert set(clock.pauses) == {EVERY_SECS}
        assert not (tmp_path / NAME).exists()
        speeds.took(OWL, TaskKind.LLM, "m", 1.0)
        await until((tmp_path / NAME).exists)
        assert read_speeds(tmp_path).times() == speeds.times()
        running.cancel()

    async def test_the_end_writes_what_is_new_and_nothing_else(self, tmp_path):
        for secs in (1.0, 2.0):
            keeper = SpeedsKeeper(tmp_path, HandClock())
            speeds = await keeper.open()
            speeds.took(OWL, TaskKind.LLM, "m", secs)
            await keeper.aclose()
        (times,) = read_speeds(tmp_path).times()
        assert times.secs == (1.0, 2.0)
        (tmp_path / NAME).unlink()
        await keeper.aclose()
        assert not (tmp_path / NAME).exists()

    async def test_a_disk_that_gives_no_answer_holds_up_neither_start_nor_end(self, tmp_path, monkeypatch, log_lines):
        monkeypatch.setattr(speeds_file, "ANSWER_SECS", 0.05)
        hangs = threading.Event()
        monkeypatch.setattr(speeds_file, "read_speeds", lambda _: hangs.wait(30))
        monkeypatch.setattr(speeds_file, "write_speeds", lambda *_: hangs.wait(30))
        keeper = SpeedsKeeper(tmp_path, HandClock())
        speeds = await keeper.open()
        speeds.took(OWL, TaskKind.LLM, "m", 1.0)
        await keeper.aclose()
        assert len([line for line in log_lines if "gives no answer" in str(line)]) == 2
        hangs.set()

    async def test_a_thread_that_cannot_be_started_costs_one_round(self, tmp_path, monkeypatch, until):
        clock = HandClock()
        keeper = SpeedsKeeper(tmp_path, clock)
        (await keeper.open()).took(OWL, TaskKind.LLM, "m", 1.0)

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            running = asyncio.create_task(keeper.run())
            await until(lambda: len(clock.pauses) > 3)
        assert not (tmp_path / NAME).exists()
        await until((tmp_path / NAME).exists)
        running.cancel()
