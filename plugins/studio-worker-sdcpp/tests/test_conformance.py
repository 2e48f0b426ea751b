"""The conformance kit on the engine, with a small checkpoint on the true library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from studio_worker import ImageTask, VideoTask
from studio_worker.testing import EngineConformance, Sample


@pytest.fixture(scope="session")
def samples(weights: Path) -> Sequence[Sample]:
    files = {"model": [weights / "sdxs.gguf"]}
    picture = ImageTask(prompt="a clay cup", width=64, height=64, steps=1, ext="png")
    film = VideoTask(prompt="a spinning cup", seconds=0.25, fps=8, width=64, height=64, ext="webp")
    return [Sample(task=task, model="sdxs", files=files) for task in (picture, film)]


class TestSdCppConformance(EngineConformance):
    plugin = "sdcpp"
