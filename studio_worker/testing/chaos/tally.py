"""How many jobs a faulty engine has had, and which of them were struck; also over the deaths of its process."""

from __future__ import annotations

import threading
from pathlib import Path


class Tally:
    """Counts jobs from 1 and remembers those that were struck. For threads, and with a path for processes too.

    Args:
        path: a file to count in, made where it is missing, with one beside it (``.struck``); None counts in memory,
            where the count begins again with each process.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._lock = threading.Lock()
        self._jobs = 0
        self._struck: list[int] = []

    def next(self) -> int:
        """The number of the job that begins now."""
        if self._path is None:
            with self._lock:
                self._jobs += 1
                return self._jobs
        # Each counter appends one byte; where its own ends is a number that no other gets.
        with self._path.open("ab", buffering=0) as file:
            file.write(b".")
            return file.tell()

    def strike(self, number: int) -> None:
        """Remember that this job was struck, before anything happens to it."""
        if self._path is None:
            with self._lock:
                self._struck.append(number)
            return
        with self._struck_path.open("ab", buffering=0) as file:
            file.write(b"%d\n" % number)

    @property
    def jobs(self) -> int:
        """The jobs so far."""
        if self._path is None:
            return self._jobs
        return self._path.stat().st_size if self._path.exists() else 0

    @property
    def struck(self) -> tuple[int, ...]:
        """The numbers of the jobs that were struck, as they came."""
        if self._path is None:
            return tuple(self._struck)
        path = self._struck_path
        return tuple(int(line) for line in path.read_text().split()) if path.exists() else ()

    @property
    def _struck_path(self) -> Path:
        assert self._path is not None, "a tally in memory has no file"
        return self._path.with_name(f"{self._path.name}.struck")
