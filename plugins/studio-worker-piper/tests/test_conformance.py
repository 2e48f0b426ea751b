"""The conformance kit on the engine, with the real voice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from studio_worker import ModelFiles, TtsTask
from studio_worker.testing import EngineConformance, Sample

# A rule may run a real model ten times, which takes minutes where others use the cores too.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def samples(model: ModelFiles) -> Sequence[Sample]:
    sentence = "The weather is beautiful today, so we will walk to the river."
    # The voice asks between sentences whether its job is cancelled.
    texts = [sentence, f"{sentence} Nobody else is there. We will be home before it is dark."]
    return [Sample(task=TtsTask(text=text), model=model.id, files=model.files) for text in texts]


class TestPiperConformance(EngineConformance):
    plugin = "piper"


class TestSteadyPiperConformance(EngineConformance):
    plugin = "piper"
    table = {"deterministic": True}  # noqa: RUF012
