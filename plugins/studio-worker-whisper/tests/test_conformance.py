"""The conformance kit on the engine, with a real model and real speech."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import pytest

from studio_worker import ModelFiles, SttTask
from studio_worker.testing import EngineConformance, Sample

# A rule may run a real model ten times, which takes minutes where others use the cores too.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def samples(model: ModelFiles, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sample]:
    path = tmp_path_factory.mktemp("conformance") / "speech.wav"
    with wave.open(str(speech)) as whole, wave.open(str(path), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(2 * whole.getframerate()))
    task = SttTask(input_url="https://files.example/a.wav", timestamps="word")
    return [Sample(task=task, model=model.id, files=model.files, inputs={"audio": path})]


class TestWhisperConformance(EngineConformance):
    plugin = "whisper"
