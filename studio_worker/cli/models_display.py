"""How far files are that come, or are hashed: live bars where somebody looks on, lines elsewhere; on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from studio_worker.cli import output
from studio_worker.cli.quantities import size_text, speed_text
from studio_worker.text import escape

if TYPE_CHECKING:
    from rich.progress import Progress

STEP_PERCENT = 10
QUIET_SECS = 10.0
"""A slow file is told of at least so often."""


class Track(Protocol):
    """One file of a display."""

    def tell(self, done: int, total: int | None) -> None:
        """Take the bytes that are done, and all of them; None where that is not known."""
        ...

    def end(self, words: str) -> None:
        """Nothing more comes of this file; say what became of it."""
        ...


class FileLines:
    """A line for each tenth of a file, with its speed, and one for its end.

    Args:
        monotonic: seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def track(self, name: str) -> Track:
        """Begin with a file."""
        return _Lines(name, self._monotonic)


class _Lines:
    def __init__(self, name: str, monotonic: Callable[[], float]) -> None:
        self._name = name
        self._monotonic = monotonic
        self._last: tuple[float, int] | None = None
        self._step = 0

    def tell(self, done: int, total: int | None) -> None:
        now = self._monotonic()
        step = done * 100 // total // STEP_PERCENT if total else 0
        if self._last is None:
            self._last, self._step = (now, done), step
            return
        then, before = self._last
        if step == self._step and now - then < QUIET_SECS:
            return
        self._last, self._step = (now, done), step
        share = f"{done * 100 // total} % of {size_text(total)}" if total else size_text(done)
        speed = f", {speed_text((done - before) / (now - then))}" if now > then and done > before else ""
        output.note(f"{self._name}: {share}{speed}")

    def end(self, words: str) -> None:
        output.note(f"{self._name}: {words}")


class FileBars:
    """A bar for each file, with its speed and how long it still takes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bars: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[words]}", markup=False),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True, markup=False),
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def track(self, name: str) -> Track:
        """Begin with a file."""
        return _Bar(self._bars, name)


class _Bar:
    def __init__(self, bars: Progress, name: str) -> None:
        self._bars = bars
        self._task = bars.add_task(escape(name, limit=40), total=None, words="")

    def tell(self, done: int, total: int | None) -> None:
        self._bars.update(self._task, completed=done, total=total)

    def end(self, words: str) -> None:
        (task,) = [each for each in self._bars.tasks if each.id == self._task]
        self._bars.update(self._task, total=task.total or task.completed or 1, words=escape(words, limit=40))
        self._bars.stop_task(self._task)


def file_display() -> FileLines | FileBars:
    """The display that fits stderr."""
    return FileBars() if output.has_live_stderr() else FileLines()
