"""Small graphs of LaMa's shape, built with `onnx`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLOUR = (0.2, 0.6, 0.8)
"""What the small graphs paint, in RGB; 51, 153 and 204 as bytes."""


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


def save(graph: onnx.GraphProto, path: Path, **more: Any) -> Path:
    """A graph as a file that this ONNX Runtime reads."""
    more.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, ir_version=9, **more)
    path.write_bytes(model.SerializeToString())
    return path
