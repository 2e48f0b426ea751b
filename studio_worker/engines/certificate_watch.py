"""Noticing that the certificates in a folder are others than before."""

from __future__ import annotations

import os
from pathlib import Path

from studio_worker.engines.certificates import MAX_FILES


class CertificateWatch:
    """Notices that certificates have come, gone or become others: by the names and times of a folder's files.

    Args:
        folder: that folder; it may not be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = self._look()

    def has_changed(self) -> bool:
        """Whether the folder's files are others than at the last call."""
        before, self._mark = self._mark, self._look()
        return self._mark != before

    def _look(self) -> frozenset[tuple[str, int, int]]:
        try:
            with os.scandir(self._folder) as entries:
                certificates = [entry for entry in entries if entry.name.endswith(".json")]
        except OSError:
            return frozenset()
        read = sorted(certificates, key=lambda entry: entry.name)[:MAX_FILES]
        return frozenset(_mark(entry) for entry in read)


def _mark(file: os.DirEntry[str]) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (file.name, 0, 0)
    return (file.name, found.st_mtime_ns, found.st_size)
