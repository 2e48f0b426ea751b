"""A film that an engine made, looked at before it is kept: it moves, has the asked size, and shows something."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from studio_worker.errors import ResultRejected
from studio_worker.jobs.film_boxes import BadFilm, check_mp4, check_webm
from studio_worker.jobs.picture_checks import check_size, shows_nothing
from studio_worker.wire.tasks import MAX_PIXELS, Task, VideoTask

if TYPE_CHECKING:
    from PIL import Image

SLOWEST_FPS = 4
"""Frames a second that a film has at least where the task names none."""


def check_film(file: BinaryIO, size: int, ext: str, task: Task) -> bool:
    """A film: animated GIF and WebP by a decoder, MP4 and WebM by their structure alone.

    Args:
        file: open at its start.
        size: bytes of the whole file.
        ext: what its first bytes say.
        task: what was asked for.

    Returns:
        Whether there is nothing to see in any frame; of MP4 and WebM nobody can tell without a decoder.

    Raises:
        ResultRejected: ``does-not-decode``, ``too-large``, ``wrong-size``, ``still``.
    """
    try:
        if ext == "mp4":
            check_mp4(file, size)
        elif ext == "webm":
            check_webm(file, size)
        else:
            return _check_animation(file, ext, task)
    except BadFilm as error:
        raise ResultRejected("does-not-decode", f"the {ext} film {error}") from None
    return False


def moves(task: Task) -> bool:
    """Whether a film of the task has more than one frame."""
    return isinstance(task, VideoTask) and task.seconds * (task.fps or SLOWEST_FPS) >= 2


def _check_animation(file: BinaryIO, ext: str, task: Task) -> bool:
    from PIL import Image

    try:
        with Image.open(file, formats=("WEBP", "GIF")) as film:
            check_size(*film.size, task)
            film.load()
            is_still = not getattr(film, "is_animated", False) and not _is_held(film, task)
            is_black = _is_black(film)
    except (ResultRejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they stumble over
        raise ResultRejected("does-not-decode", f"the {ext} film does not decode: {error}") from None
    # A film that is black throughout may have become one frame as well, and black is the better word for it.
    if is_still and moves(task) and not is_black:
        raise ResultRejected("still", "the film has one frame, more were asked for")
    return is_black


def _is_held(film: Image.Image, task: Task) -> bool:
    """Whether the first frame says that it stays for most of the film: GIF encoders join frames that are equal."""
    return isinstance(task, VideoTask) and 2 * film.info.get("duration", 0) >= 1_000 * task.seconds


def _is_black(film: Image.Image) -> bool:
    """Whether no frame shows anything: a film may rightly begin in black. Long films are not seen whole."""
    for number in range(max(1, MAX_PIXELS // (film.width * film.height))):
        try:
            film.seek(number)
        except EOFError:
            return True
        if not shows_nothing(film):
            return False
    return False
