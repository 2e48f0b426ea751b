"""The conformance kit on the engine, with a small checkpoint on the true library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from studio_worker import ImageTask, TaskKind
from studio_worker.testing import EngineConformance, Limits, Sample

# A rule may run a real model ten times, which takes minutes where others use the cores too.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def samples(weights: Path) -> Sequence[Sample]:
    files = {"model": [weights / "sdxs.gguf"]}
    picture = ImageTask(prompt="a clay cup", width=64, height=64, steps=1, ext="png")
    return [Sample(task=picture, model="sdxs", files=files)]


class TestSdCppConformance(EngineConformance):
    plugin = "sdcpp"
    table = {"threads": 1}  # noqa: RUF012
    # The library cannot be stopped: a cancelled job ends when it returns, which takes a while on a busy machine.
    limits = Limits(cancel_secs=60.0)
    # No checkpoint that makes films is small enough for a test.
    without = (TaskKind.VIDEO,)
