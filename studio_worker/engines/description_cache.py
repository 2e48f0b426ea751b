"""What plugins said of themselves, remembered between commands that only list them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from studio_worker.engines.entry_points import PluginRef
from studio_worker.engines.framing import MAX_FRAME_BYTES
from studio_worker.log import logger
from studio_worker.private_file import make_private_folder, write_atomically
from studio_worker.version import __version__

_INSTALLED_INTO = ("site-packages", "dist-packages")


class DescriptionCache:
    """Descriptions by what they follow from.

    The key is made of distribution, version, entry point, the plugin's table, the times of the modules of the entry
    point's top package (so that a plugin under development is seen anew) and the times of the folders that packages are
    installed into. Whoever uses it puts no plugin in of which an engine cannot run: what that lacks may come without a
    trace in the key, such as a program or a server. A damaged or missing file is an empty cache.

    Args:
        path: the file; it and its folder are made when something is remembered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] | None = None
        self._used: dict[str, Any] = {}

    def key(self, ref: PluginRef, table: Mapping[str, Any]) -> str:
        """The key of a plugin as it is now; reads folders and the cache's file, imports nothing."""
        if self._found is None:
            self._found = self._read()
        path = ref.path or tuple(sys.path)
        parts = [
            __version__,
            sys.version,
            ref.distribution,
            ref.version,
            ref.name,
            ref.value,
            ref.python,
            json.dumps(table, sort_keys=True, default=str),
            *(f"{module}:{_changed(module)}" for module in _modules(ref.value, path)),
            *(f"{entry}:{_changed(Path(entry))}" for entry in path if entry.endswith(_INSTALLED_INTO)),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """The child's message that was put under this key; None where there is none."""
        answer = (self._found or {}).get(key)
        if not isinstance(answer, dict):
            return None
        self._used[key] = answer
        return answer

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Remember a child's message, once `save` is called."""
        self._used[key] = dict(answer)

    def save(self) -> None:
        """Write what was used since the start, and nothing else; a folder that can't be written is logged only."""
        if self._used == self._found:
            return
        try:
            make_private_folder(self._path.parent)
            write_atomically(self._path, json.dumps(self._used).encode())
        except OSError as error:
            logger.bind(event="engine.cache", path=str(self._path), reason=str(error)).debug(
                "The descriptions of plugins could not be remembered"
            )

    def _read(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_size > 4 * MAX_FRAME_BYTES:
                return {}
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _modules(value: str, path: tuple[str, ...]) -> list[Path]:
    """The files of an entry point's top package, or its one module, found without importing it."""
    top = value.partition(":")[0].strip().partition(".")[0]
    try:
        spec = PathFinder.find_spec(top, path)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    if folders is None:
        return [Path(spec.origin)] if spec.origin else []
    return sorted(module for folder in folders for module in Path(folder).rglob("*.py"))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
