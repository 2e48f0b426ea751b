"""Pictures of the asked size in the asked format."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from studio_worker.engines.base import EngineJob, ImageResult
from studio_worker.engines.synthetic.canvas import LAYERS, Scene
from studio_worker.engines.synthetic.digest import hexdigest
from studio_worker.errors import UnsupportedTask
from studio_worker.wire.tasks import ImageTask

LARGE_PIXELS = 4 * 1024 * 1024
"""From here on encoding takes seconds, and speed counts for more than size."""

WEBP_MAX_SIDE = 16_383
"""The longest side of a WebP picture (RFC 9649, section 2.6)."""

PREVIEW_SIDE = 96

_FORMATS = {"webp": "WEBP", "png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "gif": "GIF"}


def make_picture(job: EngineJob) -> ImageResult:
    """A picture keyed by prompt, size and format.

    Raises:
        UnsupportedTask: WebP with a side over 16,383 pixels.
    """
    task = job.task
    if not isinstance(task, ImageTask):
        raise UnsupportedTask("the synthetic picture needs an image task")
    if task.ext == "webp" and max(task.width, task.height) > WEBP_MAX_SIDE:
        raise UnsupportedTask(f"a WebP picture has at most {WEBP_MAX_SIDE} pixels a side; ask for png or jpg")
    scene = Scene(hexdigest("image", task.prompt, task.width, task.height, task.ext), task.width, task.height)
    steps = LAYERS + 1
    picture = Image.new("RGB", scene.size)
    for layer, picture in enumerate(scene.paint(), start=1):
        job.check_cancelled()
        job.progress(layer, steps, stage="paint", preview=preview(picture) if layer == LAYERS // 2 else None)
    if picture.size != (task.width, task.height):
        picture = picture.resize((task.width, task.height), Image.Resampling.BICUBIC)
    job.check_cancelled()
    data = encode(picture, task.ext)
    job.progress(steps, steps, stage="encode")
    return ImageResult(data, task.ext)


def encode(picture: Image.Image, ext: str) -> bytes:
    """The bytes of a picture by ext; large pictures are encoded for speed."""
    is_large = picture.width * picture.height > LARGE_PIXELS
    options: dict[str, Any] = {}
    match ext:
        case "webp":
            options = {"quality": 85, "method": 0 if is_large else 2}
        case "png":
            options = {"compress_level": 1 if is_large else 4}
        case "jpg" | "jpeg":
            options = {"quality": 88}
        case "gif":
            picture = indexed(picture)
    out = io.BytesIO()
    picture.save(out, _FORMATS[ext], **options)
    return out.getvalue()


def indexed(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours, chosen from a small copy, since choosing takes long."""
    small = picture.copy()
    small.thumbnail((256, 256), Image.Resampling.BOX)
    palette = small.quantize(256, Image.Quantize.MEDIANCUT)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def preview(picture: Image.Image) -> bytes:
    """A small JPEG of the picture."""
    small = picture.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BOX)
    return encode(small, "jpg")
