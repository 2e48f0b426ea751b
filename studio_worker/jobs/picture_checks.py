"""A picture that an engine made, looked at before it is kept: it decodes, has the asked size, and shows something."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from studio_worker.errors import ResultRejected
from studio_worker.jobs.picture_header import MAX_PICTURE_SIDE
from studio_worker.jobs.png_chunks import BadPng, read_png
from studio_worker.jobs.png_pixels import read_pixels
from studio_worker.wire.tasks import MAX_PIXELS, ImageTask, Task, VideoTask

if TYPE_CHECKING:
    from PIL import Image

SIZE_STEPS = (1, 8, 16, 32, 64)
"""Pixels by which models grow: one that works in steps of 64 makes 512 of 500, and is not wrong."""

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def asked_size(task: Task) -> tuple[int, int] | None:
    """The size that a result must have; None where it is made from another picture.

    An engine that repaints or edits keeps that picture's size, or its shape within the model's own number of pixels.
    """
    match task:
        case ImageTask():
            sources = (task.init_image_url, task.ref_image_url)
        case VideoTask():
            sources = (task.init_image_url, None)
        case _:
            return None
    return None if any(sources) else (task.width, task.height)


def check_png(file: BinaryIO, size: int, task: Task) -> bool:
    """A PNG file, by its rows as they are inflated; only rare forms take a decoder.

    Args:
        file: open at its start.
        size: bytes of the whole file.
        task: what was asked for.

    Returns:
        Whether there is nothing to see, as `shows_nothing` has it.

    Raises:
        ResultRejected: ``does-not-decode``, ``too-large``, ``wrong-size``.
    """
    try:
        plan = read_png(file, size)
        check_size(plan.width, plan.height, task)
        if plan.is_plain:
            return read_pixels(file, plan)
    except BadPng as error:
        raise ResultRejected("does-not-decode", f"the png picture {error}") from None
    file.seek(0)
    return check_still(file, "png", task)


def check_still(file: BinaryIO, ext: str, task: Task) -> bool:
    """A picture in any format, by a decoder.

    Args:
        file: open at its start.
        ext: what its first bytes say.
        task: what was asked for.

    Returns:
        Whether there is nothing to see.

    Raises:
        ResultRejected: as `check_png` does.
    """
    from PIL import Image  # a worker that makes no pictures never loads it

    try:
        with Image.open(file, formats=_FORMATS) as picture:
            check_size(*picture.size, task)
            picture.load()
            return shows_nothing(picture)
    except (ResultRejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they stumble over
        raise ResultRejected("does-not-decode", f"the {ext} picture does not decode: {error}") from None


def check_size(width: int, height: int, task: Task) -> None:
    """Whether a picture, or a film's frame, may have this size.

    Raises:
        ResultRejected: ``too-large``, ``wrong-size``.
    """
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_PICTURE_SIDE:
        raise ResultRejected("too-large", f"the picture has {width} x {height} pixels")
    asked = asked_size(task)
    if asked is not None and not (_fits(width, asked[0]) and _fits(height, asked[1])):
        raise ResultRejected(
            "wrong-size", f"the picture has {width} x {height} pixels, {asked[0]} x {asked[1]} were asked for"
        )


def shows_nothing(picture: Image.Image) -> bool:
    """Whether a decoded picture is equally black all over, or wholly transparent.

    That is how a model paints once its numbers have run away; any other single colour may have been asked for. A black
    drawing on a transparent ground is something: its pixels are not equally opaque.
    """
    if picture.has_transparency_data:
        *colours, opacity = (band.getextrema() for band in picture.convert("RGBA").split())
    else:
        plain = picture if picture.mode.startswith(("1", "I", "L")) else picture.convert("RGB")
        colours, opacity = [band.getextrema() for band in plain.split()], (255, 255)
    is_black = all(extremes == (0, 0) for extremes in colours)
    return opacity == (0, 0) or (is_black and opacity[0] == opacity[1])


def began_black(inputs: Mapping[str, Path]) -> bool:
    """Whether the picture that a job works on shows nothing itself, so that its result may do so too.

    Args:
        inputs: the job's inputs by role, as its engine got and left them.
    """
    return any(_is_black_file(inputs[role]) for role in ("image", "ref_image") if role in inputs)


def _is_black_file(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as picture:
            return picture.width * picture.height <= MAX_PIXELS and shows_nothing(picture)
    except (Image.DecompressionBombError, SyntaxError, ValueError, OSError, EOFError):
        # Who can't tell that the input was black has no excuse for the result.
        return False


def _fits(side: int, asked: int) -> bool:
    """Whether a side is the asked one, up to the steps in which models work."""
    return any(side in (asked // step * step, -(-asked // step) * step) for step in SIZE_STEPS)
