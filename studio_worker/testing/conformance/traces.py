"""What a process holds at a moment: threads, open files, children, memory, and files where a job has no business."""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import psutil

Traces: TypeAlias = dict[str, Any]
"""`threads`, `files`, `children` (names), `native_threads`, `memory` (bytes), `temp` and `cwd` (names)."""

MAX_NAMES = 2_000


def take_traces(*, owns_temp: bool) -> Traces:
    """What this process holds now.

    Args:
        owns_temp: whether the folder for temporary files is this process's own, so that all in it is the engine's.
    """
    gc.collect()
    process = psutil.Process()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "native_threads": process.num_threads(),
        "files": open_files(process),
        "children": [_named(child) for child in process.children(recursive=True)],
        "memory": process.memory_info().rss,
        "temp": _names(Path(tempfile.gettempdir())) if owns_temp else [],
        "cwd": sorted(path.name for path in Path().iterdir())[:MAX_NAMES],
    }


def open_files(process: psutil.Process) -> list[str]:
    """The open files and sockets by name, as far as the system tells."""
    try:
        return sorted(_links())
    except OSError:
        return sorted(file.path for file in process.open_files())


def _links() -> Iterator[str]:
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except OSError:
            # The listing itself had one open.
            continue


def _named(child: psutil.Process) -> str:
    try:
        return f"{child.name()} ({child.pid})"
    except psutil.Error:
        return f"a process ({child.pid})"


def _names(folder: Path) -> list[str]:
    found = []
    for place, _, files in os.walk(folder):
        found += [str(Path(place, name).relative_to(folder)) for name in files]
        if len(found) > MAX_NAMES:
            break
    return sorted(found)[:MAX_NAMES]
