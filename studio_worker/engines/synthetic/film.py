"""mp4 and webm, where PyAV is installed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av
from PIL import Image

_CODECS = {"mp4": "libx264", "webm": "libvpx-vp9"}


def codecs() -> frozenset[str]:
    """The exts that this PyAV can write."""
    return frozenset(ext for ext, codec in _CODECS.items() if codec in av.codecs_available)


def encode_film(frames: Iterator[Image.Image], ext: str, size: tuple[int, int], fps: float) -> bytes:
    """The film's bytes.

    Args:
        frames: RGB pictures of `size`.
        ext: ``mp4`` (H.264) or ``webm`` (VP9).
        size: width and height in pixels.
        fps: frames a second.
    """
    out = io.BytesIO()
    rate = Fraction(fps).limit_denominator(1_000)
    # 4:2:0 halves both sides, so that odd ones need 4:4:4.
    pixel_format = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
    speed = {"preset": "ultrafast"} if ext == "mp4" else {"deadline": "realtime", "cpu-used": "8"}
    with av.open(out, "w", format=ext) as container:
        stream = container.add_stream(_CODECS[ext], rate=rate, options=speed)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{_CODECS[ext]} is no video codec")
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.thread_count = 1
        for picture in frames:
            container.mux(stream.encode(_frame(picture)))
        container.mux(stream.encode())
    return out.getvalue()


def _frame(picture: Image.Image) -> av.VideoFrame:
    frame = av.VideoFrame(picture.width, picture.height, "rgb24")
    plane, row = frame.planes[0], 3 * picture.width
    pixels = picture.tobytes()
    # FFmpeg pads its rows for alignment.
    padding = bytes(plane.line_size - row)
    plane.update(b"".join(pixels[at : at + row] + padding for at in range(0, len(pixels), row)))
    return frame
