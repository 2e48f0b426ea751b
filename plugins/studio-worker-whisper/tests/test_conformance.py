"""The conformance kit on the engine, with a real model and real speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from studio_worker import ModelFiles, SttTask
from studio_worker.testing import EngineConformance, Sample


@pytest.fixture(scope="session")
def samples(model: ModelFiles, speech: Path) -> Sequence[Sample]:
    task = SttTask(input_url="https://files.example/a.wav", timestamps="word")
    return [Sample(task=task, model=model.id, files=model.files, inputs={"audio": speech})]


class TestWhisperConformance(EngineConformance):
    plugin = "whisper"
