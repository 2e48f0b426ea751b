"""The conformance kit on the engine, with the real voice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from studio_worker import ModelFiles, TtsTask
from studio_worker.testing import EngineConformance, Sample


@pytest.fixture(scope="session")
def samples(model: ModelFiles) -> Sequence[Sample]:
    task = TtsTask(text="The weather is beautiful today, so we will walk to the river.")
    return [Sample(task=task, model=model.id, files=model.files)]


class TestPiperConformance(EngineConformance):
    plugin = "piper"


class TestSteadyPiperConformance(EngineConformance):
    plugin = "piper"
    table = {"deterministic": True}  # noqa: RUF012
