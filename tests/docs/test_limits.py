"""The numbers of the pages are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio_worker.engines import engine_process, host, quarantine, restarts
from studio_worker.jobs.stage_limits import Stage, StageLimits

LIMITS = StageLimits()


@pytest.fixture
def section(root: Path) -> str:
    """What the page on running a worker says of engines that die or hang, each paragraph in one line."""
    page = (root / "docs" / "how-to" / "run-a-worker.md").read_text()
    _, _, rest = page.partition("## When an engine dies or hangs\n")
    return " ".join(rest.partition("\n## ")[0].split())


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (
            Stage.LOAD,
            f"{LIMITS.load_secs:.0f} s, and 1 s more for each {LIMITS.load_bytes_per_sec / 1e6:.0f} MB of model files",
        ),
        (Stage.FIRST_OUTPUT, f"{LIMITS.first_output_secs:.0f} s"),
        (Stage.STEP, f"{LIMITS.step_secs:.0f} s"),
        (Stage.JOB, f"{LIMITS.job_secs / 3600:.0f} hours"),
    ],
)
def test_the_limit_of_each_stage_is_told(section: str, stage: Stage, said: str) -> None:
    assert f"| `{stage}` | {said} |" in section


def test_every_stage_that_has_a_limit_is_told(section: str) -> None:
    limited = {stage for stage in Stage if LIMITS.of(stage, 0) is not None}
    assert limited == {stage for stage in Stage if f"| `{stage}` |" in section}


def test_when_a_pair_is_left_alone_and_for_how_long_is_told(section: str) -> None:
    assert (quarantine.DEATHS, quarantine.WINDOW_SECS) == (3, 600)
    assert "Three deaths within ten minutes" in section
    assert f"left alone for {quarantine.PAUSE_SECS / 60:.0f} minutes" in section
    assert f"doubles the pause, up to {quarantine.MAX_PAUSE_SECS / 3600:.0f} hours" in section


def test_how_soon_a_process_is_ended_and_started_again_is_told(section: str) -> None:
    assert f"{host.CANCEL_GRACE_SECS:.0f} s later its process is ended" in section
    assert f"ready within {engine_process.START_SECS:.0f} s" in section
    first, most = restarts.FIRST_PAUSE_SECS, restarts.MAX_PAUSE_SECS
    assert f"after {first:.0f}, {2 * first:.0f}, {4 * first:.0f} … up to {most:.0f} s" in section
