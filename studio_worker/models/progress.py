"""How far the download of a model is: one number for several files, that only grows, with the speed for the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from studio_worker.clock import Clock
from studio_worker.log import logger

INTERVAL_SECS = 0.2
LOG_SECS = 10.0
WINDOW_SECS = 10.0

OnProgress: TypeAlias = Callable[[int, int | None], None]
"""Takes bytes that are here and bytes in all; None while nobody knows how many those are."""


class DownloadProgress:
    """Joins the files of one model.

    What is told never falls, not even where a file starts over, and never passes the total. A file of unknown length
    counts with what the claim says of it, until more has come; where nobody says anything there is no total.

    Args:
        model: the model id, for the log.
        on_progress: takes the numbers; called on the event loop, five times a second at most, and at the end.
        clock: time.
    """

    def __init__(self, model: str, on_progress: OnProgress | None, clock: Clock) -> None:
        self._model = model
        self._on_progress = on_progress
        self._clock = clock
        self._files: list[tuple[int, int | None]] = []
        self._told: tuple[int, int | None] = (0, 0)
        self._next_at = float("-inf")
        self._next_line_at = clock.monotonic() + LOG_SECS
        self._window: deque[tuple[float, int]] = deque()

    def file(self, expected: int = 0) -> Callable[[int, int | None], None]:
        """What takes the numbers of one more file, its bytes here, and in all where that is known.

        Args:
            expected: about how many bytes it has; 0 where nobody says.
        """
        at = len(self._files)
        self._files.append((0, expected or None))

        def take(done: int, total: int | None) -> None:
            here = max(done, 0)
            self._files[at] = (here, total if total is not None else expected if here < expected else None)
            self._tell()

        return take

    @property
    def bytes_per_sec(self) -> float | None:
        """The speed of the last seconds, None where it is not known."""
        if len(self._window) < 2:
            return None
        (first_at, first), (last_at, last) = self._window[0], self._window[-1]
        return max(last - first, 0) / (last_at - first_at) if last_at > first_at else None

    def _tell(self) -> None:
        wholes = [whole for _, whole in self._files if whole is not None]
        total = max(sum(wholes), self._told[0]) if len(wholes) == len(self._files) else None
        here = sum(here if whole is None else min(here, whole) for here, whole in self._files)
        done = max(here, self._told[0])
        now = self._clock.monotonic()
        if (now < self._next_at and done != total) or (done, total) == self._told:
            return
        self._next_at = now + INTERVAL_SECS
        self._told = (done, total)
        self._window.append((now, done))
        while now - self._window[0][0] > WINDOW_SECS:
            self._window.popleft()
        if self._on_progress is not None:
            self._on_progress(done, total)
        if now >= self._next_line_at:
            self._next_line_at = now + LOG_SECS
            self._log(done, total)

    def _log(self, done: int, total: int | None) -> None:
        speed = self.bytes_per_sec
        fields: dict[str, object] = {"done": done}
        if total is not None:
            fields["total"] = total
        if speed:
            fields["mb_per_sec"] = round(speed / 1e6, 1)
            if total is not None:
                fields["eta_secs"] = round((total - done) / speed)
        logger.bind(event="models.progress", model=self._model, **fields).info("A model is being downloaded")
