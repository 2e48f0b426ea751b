"""A child with everything that it started: ended together, and looked for afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import psutil

_LOOK_SECS = 0.01


def end_group(pid: int, *, is_hard: bool) -> None:
    """End the child `pid` and its whole process group: SIGTERM, or SIGKILL where `is_hard`.

    On Windows, which has no groups, the child and those of its descendants that can be found are ended.
    """
    try:
        if sys.platform == "win32":
            child = psutil.Process(pid)
            for each in (*child.children(recursive=True), child):
                each.kill()
        else:
            os.killpg(pid, signal.SIGKILL if is_hard else signal.SIGTERM)
    except (ProcessLookupError, PermissionError, psutil.Error):
        # It has ended already, and its group with it.
        return


async def group_is_gone(pid: int, *, within_secs: float) -> bool:
    """Whether no process of the group `pid` runs any more; waits at most so long for that."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_secs
    while _has_members(pid):
        if loop.time() >= until:
            # A zombie that its parent has not buried counts as a member, and holds nothing.
            return not await asyncio.to_thread(living_members, pid)
        await asyncio.sleep(_LOOK_SECS)
    return True


def living_members(pid: int) -> list[int]:
    """The processes of the group `pid` that run, by a look at every process; for a thread."""
    if sys.platform == "win32":
        return [pid] if psutil.pid_exists(pid) else []
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == pid and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except ProcessLookupError:
            continue
    return found


def _has_members(pid: int) -> bool:
    if sys.platform == "win32":
        return psutil.pid_exists(pid)
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
