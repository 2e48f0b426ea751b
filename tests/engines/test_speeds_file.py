"""What was measured outlives the worker; a file that is not ours costs one line of the log."""

from dataclasses import replace

import pytest

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.speeds import MAX_JOBS, MAX_PAIRS, Speeds
from studio_worker.engines.speeds_file import LIMIT_BYTES, NAME, read_speeds, write_speeds
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
