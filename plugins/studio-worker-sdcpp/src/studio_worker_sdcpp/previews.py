"""Small pictures of what there is so far (protocol section 7): few, and light enough for a slow line."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

MAX_BYTES = 32 * 1024
MAX_SIDE = 384
INTERVAL_SECS = 0.5
_SIZES = ((MAX_SIDE, 75), (MAX_SIDE, 40), (MAX_SIDE // 2, 40))


class Previews:
    """Keeps the newest small picture, at most one for each half second.

    The library paints them from the latent picture by a fixed colour table, an eighth of the size: rough, and free.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._not_before = float("-inf")
        self._waiting: bytes | None = None

    def show(self, picture: Image.Image) -> None:
        """Take a picture, unless another was taken a moment ago."""
        now = self._clock()
        if now < self._not_before:
            return
        self._not_before = now + INTERVAL_SECS
        self._waiting = small_jpeg(picture)

    def take(self) -> bytes | None:
        """The newest picture that has not been taken yet."""
        waiting, self._waiting = self._waiting, None
        return waiting


def small_jpeg(picture: Image.Image) -> bytes | None:
    """A JPEG of at most 384 pixels a side and 32 KiB; None where it cannot be made so small."""
    picture = picture.convert("RGB")
    for side, quality in _SIZES:
        picture.thumbnail((side, side))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality)
        if out.tell() <= MAX_BYTES:
            return out.getvalue()
    return None
