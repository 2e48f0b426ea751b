"""Frames as mp4, webm, or animated webp and gif."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from studio_worker import UnsupportedTask

if TYPE_CHECKING:
    import av

_CODECS = {
    "mp4": ("libx264", {"crf": "18", "preset": "medium"}),
    "webm": ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}),
}
"""ext to FFmpeg's encoder and its options: quality that leaves little to see of the encoding."""


def check_film(ext: str) -> None:
    """Say before the work begins whether a film can be written as `ext`.

    Raises:
        UnsupportedTask: with the command that would help.
    """
    if ext in ("webp", "gif"):
        return
    if ext not in _CODECS:
        raise UnsupportedTask(f"task.ext: sd-cpp writes mp4, webm, webp and gif, not {ext}")
    if find_spec("av") is None:
        raise UnsupportedTask(f"task.ext: {ext} needs PyAV; ask for webp or gif, or: pip install av")
    import av

    codec, _ = _CODECS[ext]
    if codec not in av.codecs_available:
        raise UnsupportedTask(f"task.ext: this PyAV has no {codec} to write {ext} with; ask for webp or gif")


def encode_film(
    frames: Sequence[Image.Image], target: Path, ext: str, fps: int, *, check_cancelled: Callable[[], None]
) -> None:
    """Write a film.

    Args:
        frames: RGB pictures of one size, at least one.
        target: the file to write.
        ext: ``mp4`` (H.264), ``webm`` (VP9), ``webp`` or ``gif``.
        fps: frames a second; GIF knows hundredths of a second only.
        check_cancelled: called between frames; may raise.
    """
    if ext in _CODECS:
        _with_codec(frames, target, ext, fps, check_cancelled)
        return
    out, millis = io.BytesIO(), durations(len(frames), fps)
    first, *rest = [frame.quantize(256) for frame in frames] if ext == "gif" else frames
    check_cancelled()
    if ext == "gif":
        first.save(out, "GIF", save_all=True, append_images=rest, duration=millis, loop=0, disposal=2)
    else:
        first.save(out, "WEBP", save_all=True, append_images=rest, duration=millis, loop=0, quality=90, method=4)
    target.write_bytes(out.getvalue())


def durations(count: int, fps: int) -> list[int]:
    """Milliseconds of each frame, in hundredths of a second, that add up to the film's length."""
    marks = [round(100 * number / fps) for number in range(count + 1)]
    return [max(1, end - start) * 10 for start, end in pairwise(marks)]


def _with_codec(
    frames: Sequence[Image.Image], target: Path, ext: str, fps: int, check_cancelled: Callable[[], None]
) -> None:
    import av

    codec, options = _CODECS[ext]
    width, height = frames[0].size
    with av.open(str(target), "w", format=ext) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width, height
        # 4:2:0 halves both sides, so that odd ones need 4:4:4.
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        for picture in frames:
            check_cancelled()
            container.mux(stream.encode(_frame(picture)))
        container.mux(stream.encode(None))


def _frame(picture: Image.Image) -> av.VideoFrame:
    """A picture as FFmpeg takes it; rows are padded for alignment there."""
    import av

    frame = av.VideoFrame(picture.width, picture.height, "rgb24")
    plane, row, pixels = frame.planes[0], 3 * picture.width, picture.tobytes()
    padding = bytes(plane.line_size - row)
    plane.update(b"".join(pixels[at : at + row] + padding for at in range(0, len(pixels), row)))
    return frame
