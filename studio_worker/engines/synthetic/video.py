"""Short films: the picture of the prompt, its lights in motion, ending where it began."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import pairwise

from PIL import Image

from studio_worker.engines.base import EngineJob, VideoResult
from studio_worker.engines.synthetic.canvas import Scene
from studio_worker.engines.synthetic.digest import hexdigest
from studio_worker.engines.synthetic.picture import WEBP_MAX_SIDE, indexed, preview
from studio_worker.errors import UnsupportedTask
from studio_worker.wire.tasks import VideoTask

DEFAULT_FPS = 8
MAX_FRAMES = 120
MAX_FILM_PIXELS = 64 * 1024 * 1024
"""Pixels of all frames together; beyond it a film has fewer frames, each shown longer."""

MAX_FRAME_PIXELS = 8 * 1024 * 1024
"""Pixels of one frame: animation encoders hold several whole frames in memory."""

Advance = Callable[[Image.Image], None]


def has_codec(ext: str) -> bool:
    """Whether mp4 or webm can be written here: PyAV is installed, with the codec inside."""
    if find_spec("av") is None:
        return False
    from studio_worker.engines.synthetic.film import codecs

    return ext in codecs()


def make_video(job: EngineJob, *, can_encode: Callable[[str], bool] = has_codec) -> VideoResult:
    """A film of at least two frames, keyed by prompt, size and format.

    Size, length and pace are as asked, with at most 120 frames; mp4 and webm need PyAV and become webp without it.

    Args:
        job: a video job.
        can_encode: says whether ``mp4`` or ``webm`` can be written.

    Raises:
        UnsupportedTask: frames of over 8 million pixels, or WebP with a side over 16,383.
    """
    task = job.task
    if not isinstance(task, VideoTask):
        raise UnsupportedTask("a synthetic video needs a video task")
    ext = task.ext if task.ext in ("webp", "gif") or can_encode(task.ext) else "webp"
    if task.width * task.height > MAX_FRAME_PIXELS or (ext == "webp" and max(task.width, task.height) > WEBP_MAX_SIDE):
        raise UnsupportedTask(
            f"the synthetic engine makes no {ext} video of {task.width} x {task.height}; "
            f"at most {MAX_FRAME_PIXELS:,} pixels, and {WEBP_MAX_SIDE:,} a side for webp"
        )
    count = frame_count(task)
    frames = _frames(job, task, ext, count)
    millis = _durations(task.seconds, count)
    if ext in ("mp4", "webm"):
        from studio_worker.engines.synthetic.film import encode_film

        return VideoResult(encode_film(frames, ext, (task.width, task.height), count / task.seconds), ext)
    return VideoResult(_animation(frames, ext, millis), ext)


def frame_count(task: VideoTask) -> int:
    """How many frames the film gets: seconds times pace, within the bounds above, and two at least."""
    asked = round(task.seconds * (task.fps or DEFAULT_FPS))
    return max(2, min(asked, MAX_FRAMES, MAX_FILM_PIXELS // (task.width * task.height)))


def _frames(job: EngineJob, task: VideoTask, ext: str, count: int) -> Iterator[Image.Image]:
    scene = Scene(hexdigest("video", task.prompt, task.width, task.height, ext), task.width, task.height)
    for number in range(count):
        job.check_cancelled()
        *_, picture = scene.paint(number / count)
        if picture.size != (task.width, task.height):
            picture = picture.resize((task.width, task.height), Image.Resampling.BILINEAR)
        shown = preview(picture) if number == count // 2 else None
        yield indexed(picture) if ext == "gif" else picture
        job.progress(number + 1, count, stage="render", preview=shown)


def _durations(seconds: float, count: int) -> list[int]:
    """Milliseconds of each frame, in the hundredths of a second that GIF knows, which add up to `seconds`."""
    marks = [round(100 * seconds * number / count) for number in range(count + 1)]
    return [max(2, end - start) * 10 for start, end in pairwise(marks)]


def _animation(frames: Iterator[Image.Image], ext: str, millis: list[int]) -> bytes:
    out = io.BytesIO()
    first = next(frames)
    if ext == "gif":
        first.save(out, "GIF", save_all=True, append_images=frames, duration=millis, loop=0, optimize=False)
    else:
        first.save(out, "WEBP", save_all=True, append_images=frames, duration=millis, loop=0, quality=75, method=0)
    return out.getvalue()
