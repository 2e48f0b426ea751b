"""A picture that an engine made, looked at before it is kept: it decodes, has the asked size, and shows something."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from studio_worker.errors import ResultRejected
from studio_worker.jobs.png_chunks import BadPng, read_png
from studio_worker.jobs.png_pixels import read_pixels
from studio_worker.wire.tasks import MAX_PIXELS, ImageTask, Task, VideoTask

if TYPE_CHECKING:
    from PIL import Image

SIZE_STEPS = (1, 8, 16, 32, 64)
"""Pixels by which models grow: one that works in steps of 64 makes 512 of 500, and is not wrong."""

TINY_PIXELS = 256
"""A picture of fewer pixels may well be one colour, and a film of them stand still."""


def asked_size(task: Task) -> tuple[int, int] | None:
    """The size that a result must have; None where it is made from another picture.

    An engine that repaints or edits keeps that picture's size, or its shape within the model's own number of pixels,
    and what it makes of a blank wall is a blank wall.
    """
    match task:
        case ImageTask():
            sources = (task.init_image_url, task.ref_image_url)
        case VideoTask():
            sources = (task.init_image_url, None)
        case _:
            return None
    return None if any(sources) else (task.width, task.height)


def check_png(file: BinaryIO, size: int, task: Task) -> None:
    """A PNG file, by its rows as they are inflated; only rare forms take a decoder.

    Args:
        file: open at its start.
        size: bytes of the whole file.
        task: what was asked for.

    Raises:
        ResultRejected: ``does-not-decode``, ``too-large``, ``wrong-size``, ``one-value``.
    """
    try:
        plan = read_png(file, size)
        check_size(plan.width, plan.height, task)
        if not plan.is_plain:
            file.seek(0)
            check_still(file, "png", task)
            return
        is_one = read_pixels(file, plan, compares=shows_something(plan.width, plan.height, task))
    except BadPng as error:
        raise ResultRejected("does-not-decode", f"the png picture {error}") from None
    if is_one:
        raise one_value("picture")


def check_still(file: BinaryIO, ext: str, task: Task) -> None:
    """A picture in any format, by a decoder.

    Args:
        file: open at its start.
        ext: what its first bytes say.
        task: what was asked for.

    Raises:
        ResultRejected: as `check_png` does.
    """
    from PIL import Image, UnidentifiedImageError  # a worker that makes no pictures never loads it

    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
            check_size(*picture.size, task)
            picture.load()
            is_one = shows_something(*picture.size, task) and one_pixel(picture) is not None
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, OSError, EOFError) as error:
        raise ResultRejected("does-not-decode", f"the {ext} picture does not decode: {error}") from None
    if is_one:
        raise one_value("picture")


def check_size(width: int, height: int, task: Task) -> None:
    """Whether a picture, or a film's frame, may have this size.

    Raises:
        ResultRejected: ``too-large``, ``wrong-size``.
    """
    if not 0 < width * height <= MAX_PIXELS:
        raise ResultRejected("too-large", f"the picture has {width} x {height} pixels")
    asked = asked_size(task)
    if asked is not None and not (_fits(width, asked[0]) and _fits(height, asked[1])):
        raise ResultRejected(
            "wrong-size", f"the picture has {width} x {height} pixels, {asked[0]} x {asked[1]} were asked for"
        )


def shows_something(width: int, height: int, task: Task) -> bool:
    """Whether the result must be more than one colour: made of words alone, and no mere dot."""
    return asked_size(task) is not None and width * height >= TINY_PIXELS


def one_pixel(picture: Image.Image) -> tuple[float, ...] | None:
    """The values of every pixel of a decoded picture, where all are the same."""
    extremes = picture.getextrema()
    bands = (extremes,) if isinstance(extremes[0], (int, float)) else extremes
    lows, highs = zip(*bands, strict=True)
    return lows if lows == highs else None


def one_value(what: str) -> ResultRejected:
    """The refusal of a result that shows nothing: black, most often, where the arithmetic of a model has failed."""
    return ResultRejected("one-value", f"every pixel of the {what} is the same")


def _fits(side: int, asked: int) -> bool:
    """Whether a side is the asked one, up to the steps in which models work."""
    return any(side in (asked // step * step, -(-asked // step) * step) for step in SIZE_STEPS)
