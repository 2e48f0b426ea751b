"""A film that an engine made, looked at before it is kept: it moves, has the asked size, and shows something."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from studio_worker.errors import ResultRejected
from studio_worker.jobs.film_boxes import BadFilm, check_mp4, check_webm
from studio_worker.jobs.picture_checks import TINY_PIXELS, check_size, one_pixel, one_value, shows_something
from studio_worker.wire.tasks import MAX_PIXELS, Task, VideoTask

if TYPE_CHECKING:
    from PIL import Image

SLOWEST_FPS = 4
"""Frames a second that a film has at least where the task names none."""


def check_film(file: BinaryIO, size: int, ext: str, task: Task) -> None:
    """A film: animated GIF and WebP by a decoder, MP4 and WebM by their structure alone.

    Args:
        file: open at its start.
        size: bytes of the whole file.
        ext: what its first bytes say.
        task: what was asked for.

    Raises:
        ResultRejected: ``does-not-decode``, ``too-large``, ``wrong-size``, ``still``, ``one-value``.
    """
    try:
        if ext == "mp4":
            check_mp4(file, size)
        elif ext == "webm":
            check_webm(file, size)
        else:
            _check_animation(file, ext, task)
    except BadFilm as error:
        raise ResultRejected("does-not-decode", f"the {ext} film {error}") from None


def moves(task: Task) -> bool:
    """Whether a film of the task has more than one frame."""
    return isinstance(task, VideoTask) and task.seconds * (task.fps or SLOWEST_FPS) >= 2


def _check_animation(file: BinaryIO, ext: str, task: Task) -> None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=("WEBP", "GIF")) as film:
            width, height = film.size
            check_size(width, height, task)
            film.load()
            is_still = not getattr(film, "is_animated", False)
            is_one = not is_still and shows_something(width, height, task) and _is_one_value(film)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, OSError, EOFError) as error:
        raise ResultRejected("does-not-decode", f"the {ext} film does not decode: {error}") from None
    if is_still and moves(task) and width * height >= TINY_PIXELS:
        raise ResultRejected("still", "the film has one frame, more were asked for")
    if is_one:
        raise one_value("film")


def _is_one_value(film: Image.Image) -> bool:
    """Whether every frame is the same one colour: a film may rightly begin in black. Long films are not seen whole."""
    first = one_pixel(film.convert("RGBA"))
    if first is None:
        return False
    budget = MAX_PIXELS // (film.width * film.height)
    number = 1
    while number < budget:
        try:
            film.seek(number)
        except EOFError:
            return True
        if one_pixel(film.convert("RGBA")) != first:
            return False
        number += 1
    return False
