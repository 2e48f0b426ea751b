"""Previews small enough to send (protocol section 7, `progress`): JPEG or WebP, at most 32 KiB."""

from __future__ import annotations

import io

from studio_worker.wire.results import sniff_ext

MAX_BYTES = 32 * 1024
MAX_SOURCE_BYTES = 4 * 1024 * 1024
_SIDES = (512, 256, 128)


def is_small(preview: bytes) -> bool:
    """Whether a preview can be sent as it is."""
    return len(preview) <= MAX_BYTES and sniff_ext(preview[:64]) in ("jpg", "webp")


def shrunk(preview: bytes) -> bytes | None:
    """The preview as a small JPEG, or None where it is no picture or can't be made small. Decodes: for a thread.

    Args:
        preview: an encoded picture; what is larger than 4 MiB is not looked at.
    """
    if len(preview) > MAX_SOURCE_BYTES:
        return None
    from PIL import Image, UnidentifiedImageError  # a worker that makes no pictures never loads it

    try:
        with Image.open(io.BytesIO(preview), formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
            small = picture.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, OSError, EOFError):
        return None
    for side in _SIDES:
        small.thumbnail((side, side))
        out = io.BytesIO()
        small.save(out, "JPEG", quality=70)
        if out.tell() <= MAX_BYTES:
            return out.getvalue()
    return None
