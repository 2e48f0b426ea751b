"""Pictures as the worker hands them on: brought into one shape, and written without loss where that can be.

The worker has looked at a stranger's picture, turned it upright and made it plain (`EngineJob.inputs`), so that nothing
of that is done here again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from studio_worker import BadInput, UnsupportedTask

FORMATS = ("PNG", "JPEG", "WEBP")
"""What the worker hands on; no other decoder is ever asked."""

MAX_SIDES = {"webp": 16_383, "jpg": 65_535, "jpeg": 65_535, "gif": 65_535}
"""The longest side that a format can hold."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, upright: 8-bit RGB, and beside it what it says about transparency and colour.

    Attributes:
        rgb: mode RGB.
        alpha: mode L, 255 is opaque; None where the picture says nothing.
        icc: the colour profile that the numbers of `rgb` are meant in.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    icc: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.size


def read_picture(path: Path, field: str) -> Picture:
    """Read the picture of a task: grey becomes RGB, transparency and profile are kept beside it.

    Args:
        path: a file as `EngineJob.inputs` has it.
        field: the task's field by its wire name, for sentences.

    Raises:
        BadInput: not a PNG, JPEG or WebP picture, or damaged.
    """
    picture = _read(path, field)
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    icc = picture.info.get("icc_profile")
    # A profile for grey does not fit the RGB numbers that are made of it.
    fits = isinstance(icc, bytes) and picture.mode in ("RGB", "RGBA")
    return Picture(_plain(picture.convert("RGB")), alpha, icc if fits else None)


def read_mask(path: Path, field: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Read a mask as H×W booleans: true is what to repaint, all that is brighter than 128 of 255.

    What is transparent is not marked, whatever its colour.

    Raises:
        BadInput: as `read_picture`.
    """
    picture = _read(path, field)
    grey = picture.convert("L")
    if picture.mode == "RGBA":
        grey = ImageChops.multiply(grey, picture.getchannel("A"))
    return np.asarray(grey) > 128


def check_ext(ext: str, size: tuple[int, int]) -> None:
    """Whether a picture of this size can be written.

    Raises:
        UnsupportedTask: a side is longer than the format can hold.
    """
    limit = MAX_SIDES.get(ext)
    if limit is not None and max(size) > limit:
        raise UnsupportedTask(f"task.ext: {ext} holds sides of {limit:,} pixels, not {max(size):,}; ask for png")


def write_picture(picture: Picture, ext: str, folder: Path) -> Path:
    """Write a picture into `folder`: PNG and WebP without loss, alpha included; JPEG and GIF on white.

    Metadata other than the colour profile is left out.
    """
    path = folder / f"picture.{ext}"
    icc = {"icc_profile": picture.icc} if picture.icc else {}
    if ext == "png":
        _with_alpha(picture).save(path, "PNG", **icc)
    elif ext == "webp":
        # exact keeps the colour of transparent pixels; more effort costs seconds and saves next to nothing.
        _with_alpha(picture).save(path, "WEBP", lossless=True, exact=True, method=1, quality=20, **icc)
    elif ext == "gif":
        _on_white(picture).quantize().save(path, "GIF")
    else:
        _on_white(picture).save(path, "JPEG", quality=95, subsampling=0, **icc)
    return path


def _read(path: Path, field: str) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            picture.load()
            return picture
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise BadInput(f"{field}: not a PNG, JPEG or WebP picture") from None
    except Exception as error:
        # Pillow's decoders raise what they stumble over: OSError, SyntaxError, struct.error, zlib.error …
        raise BadInput(f"{field}: the picture does not decode: {error}") from error


def _plain(picture: Image.Image) -> Image.Image:
    """The same pixels without what the file said besides, which Pillow would write out again."""
    picture.info.clear()
    return picture


def _with_alpha(picture: Picture) -> Image.Image:
    if picture.alpha is None:
        return picture.rgb
    return Image.merge("RGBA", (*picture.rgb.split(), picture.alpha))


def _on_white(picture: Picture) -> Image.Image:
    if picture.alpha is None:
        return picture.rgb
    return Image.composite(picture.rgb, Image.new("RGB", picture.size, "white"), picture.alpha)
