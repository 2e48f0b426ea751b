"""Who is told how far an engine is with a job, apart from the engine's own reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that are held for a loaded model, as measured; None for what nobody can measure."""

    ram_bytes: int | None = None
    vram_bytes: int | None = None


UNMEASURED = Held()


class JobWatch(Protocol):
    """Follows one job. Each method is called once at most, on the loop unless it is said otherwise."""

    def taken(self) -> None:
        """The engine has begun: the job waits for nobody any more, and its model is being loaded."""
        ...

    def loaded(self, held: Held) -> None:
        """The model is loaded, or there is none to load."""
        ...


class ThreadWatch:
    """The watch of a job that runs in a thread of the worker: what it is told there reaches `watch` on the loop.

    Made on the loop.

    Args:
        watch: told on the loop.
        is_taken: whether it was told already that the job is taken.
    """

    def __init__(self, watch: JobWatch, *, is_taken: bool) -> None:
        self._watch = watch
        self._is_taken = is_taken
        self._loop = asyncio.get_running_loop()

    def taken(self) -> None:
        """As `JobWatch.taken`, from any thread."""
        if not self._is_taken:
            self._tell(self._watch.taken)

    def loaded(self, held: Held) -> None:
        """As `JobWatch.loaded`, from any thread."""
        self._tell(self._watch.loaded, held)

    def _tell(self, method: Callable[..., None], *said: Held) -> None:
        try:
            self._loop.call_soon_threadsafe(method, *said)
        except RuntimeError:
            # The loop is closed; nobody follows any more.
            return
