"""Counts what a process prints for a while, by Python or by a native library. For a process that runs one engine."""

from __future__ import annotations

import os
import sys
import tempfile

TAIL_BYTES = 4_096
"""What of it goes on to where it would have gone."""


class PrintCounter:
    """From its making to `close`, descriptors 1 and 2 go into a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        _flush()
        self._kept = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(self._file.fileno(), number)

    def close(self) -> int:
        """Put the descriptors back; how many bytes were printed."""
        _flush()
        for number, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)
        with self._file as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            os.write(2, file.read())
        return size


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
