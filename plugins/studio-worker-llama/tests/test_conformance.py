"""The conformance kit on the engine: all of it with a tiny model, and with the real Gemma 3 270M."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from studio_worker import LlmTask, ModelSource
from studio_worker.testing import EngineConformance, Sample

SAID = ({"role": "user", "content": "Name a fruit."},)


def sample(model: str, path: Path, **fields: object) -> Sample:
    source = ModelSource.from_wire({"engine": "llama-cpp", "files": [], "cliDefaults": {"contextSize": 256}})
    task = LlmTask(messages=SAID, temperature=0.0, **fields)
    return Sample(task=task, model=model, source=source, files={"model": [path]})


class TestLlamaConformance(EngineConformance):
    plugin = "llama"

    @pytest.fixture(scope="class")
    def samples(self, tiny: Path) -> Sequence[Sample]:
        return [sample("tiny", tiny, max_tokens=24)]


class TestGemmaConformance(EngineConformance):
    plugin = "llama"

    @pytest.fixture(scope="class")
    def samples(self, gemma_path: Path) -> Sequence[Sample]:
        return [sample("gemma", gemma_path, max_tokens=8)]
