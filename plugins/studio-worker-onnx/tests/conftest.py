"""Small graphs of LaMa's shape, built with `onnx`, and jobs for them on the true ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from loguru import logger
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from studio_worker_onnx import OnnxEngine

from studio_worker import EngineJob, ImageTask, LoadOptions, ModelFiles

COLOUR = (0.2, 0.6, 0.8)
"""What the small graphs paint, in RGB; 51, 153 and 204 as bytes."""

MakeGraph = Callable[..., Path]
MakeJob = Callable[..., EngineJob]


def lama(
    path: Path,
    *,
    size: Sequence[int | str] = (512, 512),
    axes: str = "NCHW",
    names: tuple[str, str, str] = ("image", "mask", "output"),
    mask_first: bool = False,
    dtype: int = TensorProto.FLOAT,
    out_scale: float = 1.0,
    colour: tuple[float, float, float] = COLOUR,
    layers: int = 0,
) -> Path:
    """A graph that keeps what is known and paints `colour` where the mask is white, as LaMa's exports do.

    Bytes go in as 0…255 and come out so; floats are 0…1, times `out_scale` in the output. `layers` convolutions that
    change nothing make it as slow as wanted.
    """
    height, width = size
    is_bytes = dtype == TensorProto.UINT8
    inner = TensorProto.FLOAT if is_bytes else dtype

    def port(name: str, channels: int) -> onnx.ValueInfoProto:
        shape = [1, channels, height, width] if axes == "NCHW" else [1, height, width, channels]
        return helper.make_tensor_value_info(name, dtype, shape)

    def constant(name: str, values: Any, shape: Sequence[int]) -> onnx.TensorProto:
        array = np.asarray(values, dtype=helper.tensor_dtype_to_np_dtype(inner)).reshape(shape)
        return numpy_helper.from_array(array, name)

    in_bytes = 255.0 if is_bytes else 1.0
    constants = [
        constant("one", [1.0], [1]),
        constant("in_bytes", [in_bytes], [1]),
        constant("scale", [out_scale * in_bytes], [1]),
        constant("colour", colour, [1, 3, 1, 1] if axes == "NCHW" else [1, 1, 1, 3]),
    ]
    nodes = [
        helper.make_node("Cast", [names[0]], ["image_float"], to=inner),
        helper.make_node("Cast", [names[1]], ["mask_float"], to=inner),
        helper.make_node("Div", ["image_float", "in_bytes"], ["image_unit"]),
        helper.make_node("Div", ["mask_float", "in_bytes"], ["mask_unit"]),
    ]
    made = "image_unit"
    if layers:
        kernel = np.zeros((3, 3, 5, 5), np.float32)
        kernel[range(3), range(3), 2, 2] = 1
        constants.append(numpy_helper.from_array(kernel, "kernel"))
        for number in range(layers):
            following = f"conv_{number}"
            nodes.append(helper.make_node("Conv", [made, "kernel"], [following], pads=[2, 2, 2, 2]))
            made = following
    nodes += [
        helper.make_node("Sub", ["one", "mask_unit"], ["kept"]),
        helper.make_node("Mul", [made, "kept"], ["known"]),
        helper.make_node("Mul", ["mask_unit", "colour"], ["painted"]),
        helper.make_node("Add", ["known", "painted"], ["whole"]),
        helper.make_node("Mul", ["whole", "scale"], ["scaled"]),
        helper.make_node("Round" if is_bytes else "Identity", ["scaled"], ["ready"]),
        helper.make_node("Cast", ["ready"], [names[2]], to=dtype),
    ]
    inputs = [port(names[0], 3), port(names[1], 1)]
    graph = helper.make_graph(nodes, "lama", inputs[::-1] if mask_first else inputs, [port(names[2], 3)], constants)
    return save(graph, path)


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


def save(graph: onnx.GraphProto, path: Path, **more: Any) -> Path:
    """A graph as a file that this ONNX Runtime reads."""
    more.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, ir_version=9, **more)
    path.write_bytes(model.SerializeToString())
    return path


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
