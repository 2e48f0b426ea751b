"""Where to work: the part of a picture around its mask, the size that the model sees it in, and the soft edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

Marks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
"""H×W: true is what to repaint."""

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
"""H×W×C."""

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom; right and bottom are not in it."""

MIN_CROP = 256
"""A crop is this large at least, where the picture is: a model needs to see around a small mark."""

MAX_FREE_SIDE = 1024
"""Where a graph takes any size, a larger crop is made smaller than this: memory grows with the area."""

MIN_FREE_SIDE = 64
FREE_STEP = 8
"""A graph that takes any size halves it three times on its way."""

FEATHER = (0.55, 0.75, 0.9)
"""How much of the new picture shows at the first, second and third pixel inside the mask's edge."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a crop lies in the picture that the model sees: scaled to `inner`, then filled up to `outer` at its right
    and bottom. Both are width, height.
    """

    inner: tuple[int, int]
    outer: tuple[int, int]


def crop_box(marks: Marks) -> Box | None:
    """The part of the picture to work in: a square around all marks with a quarter of their span and 32 pixels to
    every side, moved inside the picture, and as large as the picture at most. None without a mark.
    """
    columns, rows = np.flatnonzero(marks.any(axis=0)), np.flatnonzero(marks.any(axis=1))
    if not len(columns):
        return None
    span = max(int(columns[-1] - columns[0]), int(rows[-1] - rows[0])) + 1
    side = max(span + 2 * (int(0.25 * span + 0.5) + 32), MIN_CROP)
    height, width = marks.shape
    left, right = _place(int(columns[0]), int(columns[-1]) + 1, side, width)
    top, bottom = _place(int(rows[0]), int(rows[-1]) + 1, side, height)
    return left, top, right, bottom


def _place(first: int, end: int, side: int, limit: int) -> tuple[int, int]:
    side = min(side, limit)
    start = min(max((first + end - side) // 2, 0), limit - side)
    return start, start + side


def frame(size: tuple[int, int], *, width: int | None, height: int | None) -> Frame:
    """How a crop of `size` (width, height) is shown to a model of this size; None is any."""
    ratios = [
        wanted / side if wanted is not None else min(1.0, MAX_FREE_SIDE / side)
        for side, wanted in zip(size, (width, height), strict=True)
    ]
    inner = tuple(max(1, int(side * min(ratios) + 0.5)) for side in size)
    outer = tuple(
        wanted if wanted is not None else max(MIN_FREE_SIDE, -(-side // FREE_STEP) * FREE_STEP)
        for side, wanted in zip(inner, (width, height), strict=True)
    )
    return Frame((inner[0], inner[1]), (outer[0], outer[1]))


def shown(crop: Image.Image, marks: Marks, place: Frame) -> tuple[Pixels, Marks]:
    """A crop and its marks as the model sees them. What fills up is the crop's own edge, and not marked."""
    mask = Image.fromarray(marks.astype(np.uint8) * 255)
    if crop.size != place.inner:
        crop = crop.resize(place.inner, Image.Resampling.BILINEAR)
        mask = mask.resize(place.inner, Image.Resampling.BILINEAR)
    more = ((0, place.outer[1] - place.inner[1]), (0, place.outer[0] - place.inner[0]))
    pixels = np.pad(np.asarray(crop), (*more, (0, 0)), mode="edge")
    # A pixel that got anything of what is to go is none to build on; and a thin mark must not vanish.
    return pixels, np.pad(np.asarray(mask) > 0, more)


def taken_back(pixels: Pixels, size: tuple[int, int], place: Frame) -> Image.Image:
    """What the model made, cut and scaled to the crop's `size`."""
    made = Image.fromarray(np.ascontiguousarray(pixels[: place.inner[1], : place.inner[0]]))
    return made if made.size == size else made.resize(size, Image.Resampling.BILINEAR)


def feather(marks: Marks) -> Image.Image:
    """How much of the new picture shows: 255 inside the mask, less along its edge, 0 everywhere outside it.

    The soft edge lies inside the mask, so that what is outside stays as it was, to the bit. Lines thinner than two
    such edges have none: they would never go away. The picture's own border is no edge.
    """
    depths = [marks]
    for _ in FEATHER:
        depths.append(_shrunk(depths[-1]))
    alpha = np.zeros(marks.shape, np.uint8)
    for depth, share in zip(depths, (*FEATHER, 1.0), strict=True):
        alpha[depth] = round(255 * share)
    thick = depths[-1]
    for _ in FEATHER:
        thick = ~_shrunk(~thick)
    alpha[marks & ~thick] = 255
    return Image.fromarray(alpha)


def _shrunk(marks: Marks) -> Marks:
    """Without the pixels at their edge, corners included."""
    padded = np.pad(marks, 1, constant_values=True)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
