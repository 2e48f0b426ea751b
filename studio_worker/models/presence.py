"""Which models' files are known to be here: a memory of this life, so that the disk is not asked for what is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from studio_worker.wire.model_source import ModelFile

MAX_KNOWN = 256
"""Models that are remembered; the one asked for longest ago is forgotten."""

_Key: TypeAlias = tuple[object, ...]


class Presence:
    """What was here when a job had its files. A hint: somebody may have removed one since. Never blocks."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, None] = OrderedDict()

    def knows(self, model: str, files: Sequence[ModelFile], root: Path) -> bool:
        """Whether all of a model's files were here, and nobody of this process has removed any since."""
        return _key(model, files, root) in self._known

    def note(self, model: str, files: Sequence[ModelFile], root: Path) -> None:
        """All of them are here."""
        # One and the same to the end: `doubt_all` of another thread may put an empty one in its place meanwhile.
        known, key = self._known, _key(model, files, root)
        known[key] = None
        known.move_to_end(key)
        if len(known) > MAX_KNOWN:
            known.popitem(last=False)

    def doubt(self, model: str, files: Sequence[ModelFile], root: Path) -> None:
        """One of them is not."""
        self._known.pop(_key(model, files, root), None)

    def doubt_all(self) -> None:
        """A file was removed, and any of the models may have used it. May be called from any thread."""
        self._known = OrderedDict()


def _key(model: str, files: Sequence[ModelFile], root: Path) -> _Key:
    return (root, model, *((file.filename, file.url, file.sha256, file.approx_bytes) for file in files))
