"""Small graphs of LaMa's shape, built with `onnx`, and jobs for them on the true ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from lama_graph import lama, save
from loguru import logger
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from studio_worker_onnx import OnnxEngine

from studio_worker import EngineJob, ImageTask, LoadOptions, ModelFiles

MakeGraph = Callable[..., Path]
MakeJob = Callable[..., EngineJob]


def endless() -> onnx.GraphProto:
    """A graph that would run for weeks: a loop of small convolutions."""
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Conv", ["before", "kernel"], ["after"], pads=[1, 1, 1, 1]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1, 3, "h", "w"]),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1, 3, "h", "w"]),
        ],
    )
    constants = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(np.array(2**40), "rounds")]
    return helper.make_graph(
        [
            helper.make_node("Add", ["image", "mask"], ["begun"]),
            helper.make_node("Loop", ["rounds", "", "begun"], ["output"], body=body),
        ],
        "endless",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, "h", "w"]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, "h", "w"])],
        constants,
    )


def model_files(path: Path, **options: Any) -> ModelFiles:
    return ModelFiles(id="lama", files={"model": [path]}, options=LoadOptions(threads=1, **options), dir=path.parent)


@pytest.fixture(scope="session")
def make_graph(tmp_path_factory: pytest.TempPathFactory) -> MakeGraph:
    """Writes a graph of LaMa's shape; see `lama`."""

    def make(**fields: Any) -> Path:
        return lama(tmp_path_factory.mktemp("graph") / "lama.onnx", **fields)

    return make


@pytest.fixture(scope="session")
def save_graph() -> Callable[..., Path]:
    """Writes any graph as a model; see `save`."""
    return save


@pytest.fixture(scope="session")
def endless_graph() -> Callable[[Path], Path]:
    """Writes a graph that ends only when it is told to."""
    return lambda path: save(endless(), path)


@pytest.fixture(scope="session")
def files_of() -> Callable[..., ModelFiles]:
    """A graph as the files of a claim."""
    return model_files


@pytest.fixture(scope="session")
def engine() -> OnnxEngine:
    return OnnxEngine()


@pytest.fixture(scope="session")
def loaded(engine: OnnxEngine, make_graph: MakeGraph) -> Any:
    """LaMa's usual export, 512 x 512, loaded once for all tests."""
    return engine.load(model_files(make_graph(out_scale=255.0)))


@pytest.fixture
def job(loaded: Any, tmp_path: Path) -> MakeJob:
    """Makes a job of a picture and a mask (pictures, or files); other fields of the task, `on_progress`, `model`."""

    def make(
        image: Image.Image | Path | None,
        mask: Image.Image | Path | None,
        *,
        on_progress: Any = None,
        model: Any = None,
        **fields: Any,
    ) -> EngineJob:
        inputs: dict[str, Path] = {}
        for role, given in (("image", image), ("mask", mask)):
            if isinstance(given, Path):
                inputs[role] = given
            elif given is not None:
                inputs[role] = tmp_path / f"input-{role}"
                given.save(inputs[role], "PNG")
        more = {} if on_progress is None else {"_on_progress": on_progress}
        fields.setdefault("ext", "png")
        return EngineJob(
            id="job-1",
            model="lama",
            task=ImageTask(prompt="a garden", **fields),
            seed=1,
            inputs=inputs,
            work_dir=tmp_path,
            log=logger,
            loaded=model or loaded,
            **more,
        )

    return make


@pytest.fixture
def noise() -> Callable[..., Image.Image]:
    """A picture of noise: no pixel is like another."""

    def make(width: int, height: int, mode: str = "RGB") -> Image.Image:
        values = np.random.default_rng(width * 10_007 + height).integers(0, 256, (height, width, 4), np.uint8)
        return Image.fromarray(values, "RGBA").convert(mode) if mode == "RGBA" else Image.fromarray(values[:, :, :3])

    return make


@pytest.fixture
def marked() -> Callable[..., Image.Image]:
    """A mask with one white box, right and bottom not in it."""

    def make(width: int, height: int, *box: int) -> Image.Image:
        mask = Image.new("L", (width, height))
        if box:
            mask.paste(255, box)
        return mask

    return make
