"""The conformance kit on the engine, with a small graph of LaMa's shape on the true ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from lama_graph import lama
from PIL import Image

from studio_worker import ImageTask
from studio_worker.testing import EngineConformance, Sample


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sample]:
    folder = tmp_path_factory.mktemp("conformance")
    picture, mask = Image.new("RGB", (96, 64), (200, 120, 40)), Image.new("L", (96, 64))
    mask.paste(255, (30, 20, 60, 40))
    inputs: dict[str, Path] = {}
    for role, image in (("image", picture), ("mask", mask)):
        inputs[role] = folder / f"{role}.png"
        image.save(inputs[role])
    task = ImageTask(prompt="a garden", width=96, height=64, ext="png")
    graph = lama(folder / "lama.onnx", out_scale=255.0)
    return [Sample(task=task, model="lama", files={"model": [graph]}, inputs=inputs)]


class TestOnnxConformance(EngineConformance):
    plugin = "onnx"


class TestOnnxOnTheCpuConformance(EngineConformance):
    plugin = "onnx"
    table = {"providers": ["cpu"]}  # noqa: RUF012
