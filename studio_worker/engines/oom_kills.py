"""Whether the system kills processes for want of memory: its own count, since a signal doesn't say who sent it.

Linux alone tells. The count of the worker's own control group is asked first (``memory.events``, which counts what is
below it too); where there is none, that of the whole machine (``/proc/vmstat``). The kernel's log would say more, and
is closed to most users.
"""

from __future__ import annotations

from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def oom_kills(groups: Path = CONTROL_GROUPS, proc: Path = PROC) -> int | None:
    """How many processes the system has killed for their memory so far; None where it doesn't tell. For a thread."""
    for path in (_own_group(groups, proc) / "memory.events", proc / "vmstat"):
        try:
            counts = dict(line.split() for line in path.read_text().splitlines())
            return int(counts["oom_kill"])
        except (OSError, ValueError, KeyError):
            # It is not there, or is no list of counts: the next may be.
            continue
    return None


def _own_group(groups: Path, proc: Path) -> Path:
    """The folder of this process's control group, of the unified hierarchy."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return groups
    return groups / next((line[len("0::/") :] for line in lines if line.startswith("0::/")), "")
