"""What an engine started in a session of its own, so that its process group does not have it: found by a mark.

Every process inherits its environment from the one that started it, and so the mark that an engine's process was given.
"""

from __future__ import annotations

from pathlib import Path

import psutil

MARK = "ENGINE_OF_STUDIO_WORKER"
"""The variable that names the folder for temporary files of the engine's process, which no two processes share."""


def end_strays(folder: Path, *, within_secs: float) -> list[int]:
    """Kill every process that carries the mark of a folder, or of one in it. For a thread.

    A process that cleaned its environment, or that belongs to another user, is not found.

    Args:
        folder: that of an engine's process that is gone, or of a worker that is.
        within_secs: how long their end is waited for.

    Returns:
        Those that have not ended by then.
    """
    strays = [process for process in psutil.process_iter() if _is_marked(process, folder)]
    for process in strays:
        try:
            process.kill()
        except psutil.Error:
            # It has ended by itself, or is nobody's to end; which of the two, the wait shows.
            continue
    _, left = psutil.wait_procs(strays, timeout=within_secs)
    return [process.pid for process in left]


def _is_marked(process: psutil.Process, folder: Path) -> bool:
    try:
        mark = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return False
    return mark is not None and Path(mark).is_relative_to(folder)
