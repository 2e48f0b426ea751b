"""The conformance kit on the engine: all of it with a tiny model, and with the real Gemma 3 270M."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from studio_worker import LlmTask, ModelSource
from studio_worker.testing import EngineConformance, Sample

# A rule may run a real model ten times, which takes minutes where others use the cores too.
pytestmark = pytest.mark.timeout(600)

SAID = ({"role": "user", "content": "Name a fruit."},)


def sample(model: str, path: Path, **fields: object) -> Sample:
    source = ModelSource.from_wire({"engine": "llama-cpp", "files": [], "cliDefaults": {"contextSize": 256}})
    task = LlmTask(messages=SAID, temperature=0.0, **fields)
    return Sample(task=task, model=model, source=source, files={"model": [path]})


class TestLlamaConformance(EngineConformance):
    plugin = "llama"
    table = {"threads": 1}  # noqa: RUF012

    @pytest.fixture(scope="class")
    @classmethod
    def samples(cls, tiny: Path) -> Sequence[Sample]:
        return [sample("tiny", tiny, max_tokens=24)]


class TestGemmaConformance(EngineConformance):
    plugin = "llama"
    table = {"threads": 1}  # noqa: RUF012

    @pytest.fixture(scope="class")
    @classmethod
    def samples(cls, gemma_path: Path) -> Sequence[Sample]:
        return [sample("gemma", gemma_path, max_tokens=3)]
