"""Threads at work on a disk that may never answer: what has not come back when it was due is a trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from studio_worker.jobs.journal import Trouble

PATIENCE_SECS = 10.0
"""What a disk may take for one thing that is asked of it: twice as long as a foreign lock is waited for."""

SLOWEST_BYTES_PER_SEC = 5_000_000
"""The slowest disk that is not taken for one that hangs."""


class HangWatch:
    """Knows which threads wait for the disk, and since when.

    Args:
        monotonic: the machine's time, in seconds.
        patience_secs: what one thing may take, beside the time for its bytes.
    """

    def __init__(self, monotonic: Callable[[], float], *, patience_secs: float = PATIENCE_SECS) -> None:
        self._monotonic = monotonic
        self._patience_secs = patience_secs
        self._due: dict[int, float] = {}

    @contextmanager
    def at_work(self, size_bytes: int = 0) -> Iterator[None]:
        """Surrounds what a thread asks of the disk.

        Args:
            size_bytes: how much is to be written.
        """
        thread = threading.get_ident()
        self._due[thread] = self._monotonic() + self._patience_secs + size_bytes / SLOWEST_BYTES_PER_SEC
        try:
            yield
        finally:
            del self._due[thread]

    @property
    def trouble(self) -> Trouble | None:
        """``disk_hangs`` while something is overdue; never blocks."""
        # One step for the interpreter: threads come and go meanwhile.
        due = list(self._due.values())
        if due and min(due) < self._monotonic():
            return Trouble("disk_hangs", "the disk of the state folder does not answer: a write has not come back")
        return None
