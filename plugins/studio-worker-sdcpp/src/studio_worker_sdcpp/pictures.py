"""Input pictures made fit to work on, and finished ones as files.

The worker has looked at a stranger's picture, turned it upright and made it plain (`EngineJob.inputs`).
The library works in multiples of 64 pixels. A job's size is rounded up, its input pictures are laid in the middle, and
the middle of what was made is the result: nothing is stretched, and what lines up before lines up after.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from studio_worker import BadInput, UnsupportedTask

MULTIPLE = 64
"""What the sides that the library works on are multiples of; some models would do with less."""

WEBP_MAX_SIDE = 16_383
JPEG_MAX_SIDE = 65_535

_FORMATS = ("PNG", "JPEG", "WEBP")
"""What the worker hands on; no other decoder is ever asked."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The size that a job asks for inside the size that the library works on."""

    width: int
    height: int

    @property
    def work_size(self) -> tuple[int, int]:
        """Width and height, rounded up to multiples of 64."""
        return _rounded_up(self.width), _rounded_up(self.height)

    def lay(self, picture: Image.Image) -> Image.Image:
        """A picture of the asked size in the middle of the work size; the rim shows it once more, stretched."""
        if picture.size == self.work_size:
            return picture
        laid = picture.resize(self.work_size, Image.Resampling.BILINEAR)
        laid.paste(picture, self._corner)
        return laid

    def cut(self, made: Image.Image) -> Image.Image:
        """The middle of what the library made, in the asked size."""
        left, top = (made.width - self.width) // 2, (made.height - self.height) // 2
        return made.crop((left, top, left + self.width, top + self.height))

    @property
    def _corner(self) -> tuple[int, int]:
        width, height = self.work_size
        return (width - self.width) // 2, (height - self.height) // 2


def read_picture(path: Path, field: str) -> Image.Image:
    """An input picture as RGB; what is transparent becomes white.

    Args:
        path: a file as `EngineJob.inputs` has it; its name says nothing.
        field: the task's field, for the sentence.

    Raises:
        BadInput: no PNG, JPEG or WebP, or damaged.
    """
    picture = _opened(path, field)
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def read_mask(path: Path, field: str) -> Image.Image:
    """An input mask as grey levels, white to be painted anew; arguments and errors as of `read_picture`."""
    return _opened(path, field).convert("RGB").convert("L")


def fit(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture in another size: scaled until it covers it, and cut evenly at the sides that stand out."""
    if picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def check_size(ext: str, width: int, height: int) -> None:
    """Say before the work begins whether a picture of this size can be written.

    Raises:
        UnsupportedTask: names the format's limit.
    """
    limit = {"webp": WEBP_MAX_SIDE, "jpg": JPEG_MAX_SIDE, "jpeg": JPEG_MAX_SIDE}.get(ext)
    if limit is not None and max(width, height) > limit:
        raise UnsupportedTask(f"task.ext: {ext} has at most {limit:,} pixels a side, {width} x {height} was asked for")


def encode_picture(picture: Image.Image, ext: str) -> bytes:
    """An RGB picture as `png`, `webp`, `jpg`, `jpeg` or `gif`; the same bytes for the same pixels."""
    out = io.BytesIO()
    match ext:
        case "png":
            picture.save(out, "PNG")
        case "gif":
            picture.quantize(256).save(out, "GIF")
        case "webp":
            picture.save(out, "WEBP", quality=95, method=4)
        case "jpg" | "jpeg":
            picture.save(out, "JPEG", quality=95, subsampling=0)
        case _:
            raise UnsupportedTask(f"task.ext: sd-cpp writes webp, png, jpg and gif, not {ext}")
    return out.getvalue()


def _opened(path: Path, field: str) -> Image.Image:
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            picture.load()
            return picture
    except UnidentifiedImageError:
        raise BadInput(f"{field}: not a picture; PNG, JPEG and WebP are read") from None
    except (Image.DecompressionBombError, SyntaxError, ValueError, OSError, EOFError) as error:
        raise BadInput(f"{field}: the picture cannot be decoded: {error}".replace(str(path), "it")) from None


def _rounded_up(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE
