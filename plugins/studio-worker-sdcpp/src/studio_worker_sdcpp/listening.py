"""What stable-diffusion.cpp says while it works: steps, small pictures, its log.

Its callbacks and its log belong to the whole process, so one call is listened to at a time.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import stable_diffusion_cpp as sd
from PIL import Image

from studio_worker import EngineError, OutOfMemory

OnStep: TypeAlias = Callable[[int, int], None]
OnPreview: TypeAlias = Callable[[Image.Image], None]

_WARNING, _ERROR = 2, 3
_KEPT_LINES = 200
_OUT_OF_MEMORY = ("out of memory", "failed to allocate", "insufficient memory", "outofdevicememory", "bad_alloc")
_PLACE = re.compile(r"^\S+\.(?:c|cc|cpp|cu|h|hpp):\d+ +- ")
_LOCK = threading.Lock()


@dataclass(slots=True)
class Ears:
    """Who listens to the library at the moment, and what it has said.

    Attributes:
        on_step: told of each step done, and of all.
        on_preview: given a small picture after each step.
        warnings: lines of the log.
        errors: lines of the log.
        raised: what a listener raised.
    """

    on_step: OnStep | None = None
    on_preview: OnPreview | None = None
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    raised: BaseException | None = None

    def call(self, listener: Callable[..., None] | None, *values: Any) -> None:
        """Tell a listener; what it raises waits, since nothing may be raised through C."""
        if listener is None or self.raised is not None:
            return
        try:
            listener(*values)
        except BaseException as error:  # noqa: BLE001 - raised again once the library has returned
            self.raised = error


_now: deque[Ears] = deque([Ears()], maxlen=1)
"""Who listens at the moment."""


@sd.sd_log_callback  # type: ignore[untyped-decorator]  # the binding has no types
def _on_log(level: int, text: bytes, _: object) -> None:
    line = _PLACE.sub("", text.decode(errors="replace").strip())
    if level == _ERROR:
        # A process that the library brings down has said why.
        os.write(2, f"stable-diffusion.cpp: {line}\n".encode(errors="replace"))
    lines = {_WARNING: _now[0].warnings, _ERROR: _now[0].errors}.get(level)
    if lines is not None and len(lines) < _KEPT_LINES:
        lines.append(line)


@sd.sd_progress_callback  # type: ignore[untyped-decorator]  # the binding has no types
def _on_progress(step: int, steps: int, _seconds: float, _: object) -> None:
    _now[0].call(_now[0].on_step, step, steps)


@sd.sd_preview_callback  # type: ignore[untyped-decorator]  # the binding has no types
def _on_preview(_step: int, count: int, frames: Any, _is_noisy: bool, _: object) -> None:
    if _now[0].on_preview is not None and count > 0:
        _now[0].call(_now[0].on_preview, picture(frames[count // 2]))


@contextmanager
def listening(on_step: OnStep | None = None, on_preview: OnPreview | None = None) -> Iterator[Ears]:
    """Listen to the calls of the library that are made inside; other threads wait.

    What a listener raised is raised at the end.
    """
    ears = Ears(on_step, on_preview)
    with _LOCK:
        _now.append(ears)
        sd.sd_set_log_callback(_on_log, None)
        sd.sd_set_progress_callback(_on_progress, None)
        mode = sd.Preview.PREVIEW_NONE if on_preview is None else sd.Preview.PREVIEW_PROJ
        sd.sd_set_preview_callback(_on_preview, mode, 1, True, False, None)
        yield ears
        if ears.raised is not None:
            raise ears.raised


def picture(image: Any) -> Image.Image:
    """A copy of an ``sd_image_t`` as RGB."""
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[image.channel]
    pixels = ctypes.string_at(image.data, image.width * image.height * image.channel)
    return Image.frombytes(mode, (image.width, image.height), pixels).convert("RGB")


def failure(doing: str, lines: Sequence[str], paths: Iterable[Path], *, retryable: bool) -> EngineError:
    """The error of a call.

    Args:
        doing: what did not work.
        lines: the library's errors; what says that memory is short counts, else the first.
        paths: files of which no more than the name is told.
        retryable: whether another try can help.
    """
    memory = next((line for line in lines if any(mark in line.lower() for mark in _OUT_OF_MEMORY)), None)
    said = memory or (lines[0] if lines else "it did not say why")
    for path in paths:
        said = said.replace(str(path), path.name)
    if memory is not None:
        return OutOfMemory(f"{doing}: out of memory: {said}")
    return EngineError(f"{doing}: {said}", retryable=retryable)
