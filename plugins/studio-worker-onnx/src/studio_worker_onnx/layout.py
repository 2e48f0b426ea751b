"""What a graph takes and gives, read off the graph itself: names, sizes, order of axes, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from studio_worker import EngineError
from studio_worker_onnx.region import Marks, Pixels

TYPES: Mapping[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(uint8)": np.dtype(np.uint8),
}
"""Floats mean 0…1, bytes 0…255."""

MAX_FIXED_SIDE = 4_096
"""A graph of a fixed size may ask for this much at most."""

_NOISE = 1e-3
"""What the arithmetic of floats may take from a whole number, which is cut off after it."""


class Described(Protocol):
    """What ONNX Runtime says about an input or an output."""

    name: str
    type: str
    shape: Sequence[int | str | None]


@dataclass(frozen=True, slots=True)
class Port:
    """One input: its name, its type, and whether the channels come last. `width`, `height`: None is any."""

    name: str
    dtype: np.dtype[Any]
    channels: int
    axes: Literal["NCHW", "NHWC"]
    width: int | None
    height: int | None

    def fill(self, pixels: Pixels) -> np.ndarray[Any, Any]:
        """An H×W×C array of bytes as this input takes it."""
        values = pixels if self.dtype == np.uint8 else pixels.astype(np.float32) / np.float32(255)
        ordered = values.transpose(2, 0, 1) if self.axes == "NCHW" else values
        return np.ascontiguousarray(ordered[np.newaxis], dtype=self.dtype)


@dataclass(frozen=True, slots=True)
class Layout:
    """The two inputs and the output of a graph that fills what a mask marks. `width`, `height`: None is any."""

    picture: Port
    mask: Port
    output: str
    width: int | None
    height: int | None

    def feeds(self, pixels: Pixels, marks: Marks) -> dict[str, np.ndarray[Any, Any]]:
        """The inputs of one run, of the picture and the mask as H×W×3 and H×W."""
        white = (marks * np.uint8(255))[:, :, np.newaxis]
        return {self.picture.name: self.picture.fill(pixels), self.mask.name: self.mask.fill(white)}


def read_layout(inputs: Sequence[Described], outputs: Sequence[Described], *, model: str) -> Layout:
    """Find out which input is the picture and which the mask, by their channels, and which output to take.

    Raises:
        EngineError: never worth another try; the sentence says what the graph has.
    """
    ports = [_port(item) for item in inputs]
    pictures = [port for port in ports if port is not None and port.channels == 3]
    masks = [port for port in ports if port is not None and port.channels == 1]
    givers = [item for item in outputs if item.type in TYPES and _may_be_picture(item.shape)]
    if len(inputs) != 2 or len(pictures) != 1 or len(masks) != 1 or not givers:
        raise EngineError(
            "onnx serves object removal: a graph with a picture of 3 channels and a mask of 1 as its inputs, in floats "
            f"or bytes, and a picture as its output; {model} has the inputs {_told(inputs)} and the outputs "
            f"{_told(outputs)}",
            retryable=False,
        )
    picture, mask = pictures[0], masks[0]
    sides: list[int | None] = []
    for name, ours, theirs in (("wide", picture.width, mask.width), ("high", picture.height, mask.height)):
        if ours is not None and theirs is not None and ours != theirs:
            raise EngineError(
                f"{model} wants a picture {ours} pixels {name} and a mask of {theirs}; they must be equal",
                retryable=False,
            )
        side = ours if ours is not None else theirs
        if side is not None and not 0 < side <= MAX_FIXED_SIDE:
            raise EngineError(
                f"{model} wants pictures {side:,} pixels {name}; at most {MAX_FIXED_SIDE:,} are made", retryable=False
            )
        sides.append(side)
    return Layout(picture, mask, givers[0].name, *sides)


def read_output(array: np.ndarray[Any, Any], pixels: Pixels, marks: Marks, *, model: str) -> Pixels:
    """The output of a run as H×W×3 bytes, cut off as the older worker does.

    Floats are 0…1 or 0…255: what the model was shown and did not have to repaint tells which.

    Args:
        array: what the graph gave.
        pixels: what it was shown, H×W×3.
        marks: what it had to repaint, H×W.
        model: the file's name, for sentences.

    Raises:
        EngineError: another shape than the picture that it was shown, or values that are none of a picture.
    """
    height, width = marks.shape
    if array.shape == (1, 3, height, width):
        values = array[0].transpose(1, 2, 0)
    elif array.shape == (1, height, width, 3):
        values = array[0]
    else:
        raise EngineError(
            f"{model} gave an output of {_shape(array.shape)} for a picture of 1×3×{height}×{width}", retryable=False
        )
    if values.dtype == np.uint8:
        return np.array(values, dtype=np.uint8)
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EngineError(f"{model} gave values that are no numbers", retryable=False)
    if low < -0.5 and high <= 2:
        raise EngineError(f"{model} gives values from {low:.2f} to {high:.2f}, not 0…1 or 0…255", retryable=False)
    scaled = values if _is_in_bytes(values, high, pixels, marks) else values * 255
    return np.array(scaled.clip(0, 255) + np.float32(_NOISE), dtype=np.uint8)


def _is_in_bytes(values: np.ndarray[Any, Any], high: float, pixels: Pixels, marks: Marks) -> bool:
    if high > 2:
        return True
    # A dark picture in 0…255 looks like one in 0…1 until it is held against the one that was shown.
    known = ~marks
    was = float(pixels[known].sum(dtype=np.float64)) / 255
    return was > 0 and float(values[known].sum(dtype=np.float64)) / was > 16


def _port(item: Described) -> Port | None:
    if item.type not in TYPES or len(item.shape) != 4 or not (item.shape[0] == 1 or not isinstance(item.shape[0], int)):
        return None
    for axes, channel, high, wide in (("NCHW", 1, 2, 3), ("NHWC", 3, 1, 2)):
        channels = item.shape[channel]
        if channels in (1, 3):
            width, height = item.shape[wide], item.shape[high]
            return Port(
                name=item.name,
                dtype=TYPES[item.type],
                channels=int(channels),
                axes="NCHW" if axes == "NCHW" else "NHWC",
                width=width if isinstance(width, int) else None,
                height=height if isinstance(height, int) else None,
            )
    return None


def _may_be_picture(shape: Sequence[int | str | None]) -> bool:
    """Whether an output of this declared shape may turn out to be a picture; many graphs declare none."""
    if not shape:
        return True
    return len(shape) == 4 and any(not isinstance(size, int) or size == 3 for size in (shape[1], shape[3]))


def _told(items: Sequence[Described]) -> str:
    return ", ".join(f"{item.name} ({item.type}, {_shape(item.shape)})" for item in items[:6]) or "none"


def _shape(shape: Sequence[object]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) or "any shape"
