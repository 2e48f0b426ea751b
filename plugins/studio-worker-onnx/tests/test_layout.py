from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from studio_worker_onnx import OnnxEngine
from studio_worker_onnx.layout import read_layout, read_output

from studio_worker import EngineError

PAINTED = (51, 153, 204)


@dataclass(frozen=True)
class Item:
    """What ONNX Runtime says about an input or an output."""

    name: str
    shape: tuple[int | str | None, ...]
    type: str = "tensor(float)"


IMAGE = Item("image", (1, 3, 64, 64))
MASK = Item("mask", (1, 1, 64, 64))
OUTPUT = Item("output", (1, 3, 64, 64))


@pytest.mark.parametrize(
    "fields",
    [
        {"size": (512, 512)},
        {"size": (256, 320), "out_scale": 255.0},
        {"size": ("h", "w")},
        {"size": ("h", "w"), "axes": "NHWC", "out_scale": 255.0},
        {"size": (128, 128), "axes": "NHWC"},
        {"names": ("l_picture_", "l_hole_", "add_7"), "mask_first": True},
        {"size": (256, 256), "dtype": TensorProto.FLOAT16},
        {"size": (256, 256), "dtype": TensorProto.DOUBLE},
        {"size": ("h", "w"), "dtype": TensorProto.UINT8},
        {"size": ("h", 512), "dtype": TensorProto.UINT8, "axes": "NHWC"},
    ],
    ids=str,
)
def test_graphs_of_every_layout_paint_the_same(
    engine: OnnxEngine, job: Any, make_graph: Any, files_of: Any, noise: Any, marked: Any, fields: dict[str, Any]
) -> None:
    model = engine.load(files_of(make_graph(**fields)))
    base = noise(640, 400)
    result = engine.run(job(base, marked(640, 400, 500, 300, 560, 380), model=model))
    before, after = np.asarray(base), np.asarray(Image.open(result.data))
    painted = after[306:374, 506:554].astype(int)
    assert abs(painted - PAINTED).max() <= 1
    assert (after[:300] == before[:300]).all()
    assert (after[300:, :500] == before[300:, :500]).all()


def test_sizes_types_and_names_are_read_off_the_graph() -> None:
    layout = read_layout(
        [Item("hole", ("n", "h", "w", 1), "tensor(uint8)"), Item("x", (None, 3, 512, None), "tensor(float16)")],
        [Item("scores", (1, 10)), Item("y", (1, 3, 512, 512))],
        model="m.onnx",
    )
    assert (layout.picture.name, layout.picture.axes, layout.picture.dtype) == ("x", "NCHW", np.float16)
    assert (layout.mask.name, layout.mask.axes, layout.mask.dtype) == ("hole", "NHWC", np.uint8)
    assert (layout.output, layout.width, layout.height) == ("y", None, 512)


def test_the_inputs_are_planes_of_0_to_1() -> None:
    layout = read_layout([IMAGE, MASK], [OUTPUT], model="m.onnx")
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[5, 9] = (255, 51, 0)
    marks = np.zeros((64, 64), bool)
    marks[5, 9] = True
    feeds = layout.feeds(pixels, marks)
    assert {name: (array.shape, array.dtype.name) for name, array in feeds.items()} == {
        "image": ((1, 3, 64, 64), "float32"),
        "mask": ((1, 1, 64, 64), "float32"),
    }
    assert feeds["image"][0, :, 5, 9].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert (feeds["mask"].sum(), feeds["mask"][0, 0, 5, 9]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("inputs", "outputs", "told"),
    [
        ([IMAGE], [OUTPUT], r"has the inputs image \(tensor\(float\), 1×3×64×64\) and the outputs output"),
        ([IMAGE, MASK, Item("steps", (1,))], [OUTPUT], r"steps \(tensor\(float\), 1\)"),
        ([IMAGE, Item("other", (1, 3, 64, 64))], [OUTPUT], "other"),
        ([MASK, Item("other", (1, 1, 64, 64))], [OUTPUT], "other"),
        ([Item("ids", (1, 77), "tensor(int64)"), MASK], [OUTPUT], r"ids \(tensor\(int64\), 1×77\)"),
        ([Item("image", (4, 3, 64, 64)), MASK], [OUTPUT], "4×3×64×64"),
        ([Item("image", (1, 4, 64, 64)), MASK], [OUTPUT], "1×4×64×64"),
        ([Item("image", ("n", "c", "h", None)), MASK], [OUTPUT], r"n×c×h×\?"),
        ([IMAGE, MASK], [Item("scores", (1, 1000))], "1×1000"),
        ([IMAGE, MASK], [Item("labels", (1, 3, 64, 64), "tensor(int64)")], "labels"),
        ([IMAGE, MASK], [], "the outputs none"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused_with_what_it_has(
    inputs: list[Item], outputs: list[Item], told: str
) -> None:
    with pytest.raises(EngineError, match=rf"onnx serves object removal: .*m\.onnx.*{told}") as error:
        read_layout(inputs, outputs, model="m.onnx")
    assert not error.value.retryable


@pytest.mark.parametrize(
    ("image", "mask", "told"),
    [
        ((1, 3, 64, 64), (1, 1, 32, 64), "64 pixels high and a mask of 32"),
        ((1, 3, 64, 64), (1, 1, 64, 32), "64 pixels wide and a mask of 32"),
        ((1, 3, 64, 100_000), (1, 1, 64, 100_000), "100,000 pixels wide; at most 4,096"),
        ((1, 3, 0, 64), (1, 1, 0, 64), "0 pixels high"),
    ],
)
def test_a_size_that_cannot_be_made_is_refused(image: Any, mask: Any, told: str) -> None:
    with pytest.raises(EngineError, match=told) as error:
        read_layout([Item("image", image), Item("mask", mask)], [OUTPUT], model="m.onnx")
    assert not error.value.retryable


def test_the_model_of_another_trade_is_refused_when_it_is_loaded(
    engine: OnnxEngine, save_graph: Any, files_of: Any, tmp_path: Any
) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 224, 224]) for name in "xy"]
    path = save_graph(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:]), tmp_path / "m.onnx"
    )
    with pytest.raises(EngineError, match=r"m\.onnx has the inputs x \(tensor\(float\), 1×3×224×224\)"):
        engine.load(files_of(path))


def output(*values: float, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """A 1×3×1×n output, the same in all channels."""
    return np.broadcast_to(np.array(values, dtype), (1, 3, 1, len(values)))


def read(array: Any, known: tuple[int, ...], marks: tuple[bool, ...]) -> list[int]:
    pixels = np.repeat(np.array([known], np.uint8)[:, :, np.newaxis], 3, axis=2)
    return read_output(array, pixels, np.array([marks]), model="m.onnx")[0, :, 0].tolist()


def test_an_output_of_0_to_1_is_scaled_and_cut_off() -> None:
    assert read(output(0.0, 0.5, 1.0, 129 / 255, 1.2), (0, 0, 255, 129, 255), (False, True, False, False, True)) == [
        0,
        127,
        255,
        129,
        255,
    ]


def test_an_output_of_0_to_255_stays_and_is_cut_off() -> None:
    assert read(output(0.0, 127.9, 255.0, 300.0, -3.0), (0, 0, 255, 0, 0), (False, True, False, True, True)) == [
        0,
        127,
        255,
        255,
        0,
    ]


def test_a_nearly_black_output_of_0_to_255_is_told_by_what_was_shown() -> None:
    assert read(output(2.0, 1.0, 2.0), (2, 1, 0), (False, False, True)) == [2, 1, 2]
    assert read(output(2 / 255, 1 / 255, 1.0), (2, 1, 0), (False, False, True)) == [2, 1, 255]


def test_an_output_that_is_black_throughout_is_black() -> None:
    assert read(output(0.0, 0.0), (0, 0), (False, True)) == [0, 0]


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((1, 3, 2, 2), np.float32), "an output of 1×3×2×2 for a picture of 1×3×1×2"),
        (np.zeros((3, 1, 2), np.float32), "an output of 3×1×2"),
        (output(0.5, float("nan")), "no numbers"),
        (output(0.5, float("inf")), "no numbers"),
        (output(-1.0, 1.0), r"values from -1\.00 to 1\.00, not 0…1 or 0…255"),
    ],
)
def test_an_output_that_is_no_picture_is_refused(array: Any, told: str) -> None:
    with pytest.raises(EngineError, match=told) as error:
        read(array, (0, 0), (False, True))
    assert not error.value.retryable
