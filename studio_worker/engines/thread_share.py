"""How many CPU threads an engine gets where nobody says: its share of the cores that the worker may use."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What the libraries of this field read when they are loaded."""


def usable_cores(quota: Path = _QUOTA) -> int:
    """The cores that this process may use: its affinity, and on Linux its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        granted, period = quota.read_text().split()
        cores = min(cores, -(-int(granted) // int(period)))
    except (OSError, ValueError):
        # No quota: the file is missing, or says "max".
        pass
    return max(cores, 1)


def thread_share(slots: int, cores: int) -> int:
    """The threads of one of `slots` jobs that may run at once."""
    return max(1, cores // max(slots, 1))


def capped(asked: int | None, share: int, cores: int) -> int:
    """The threads of a load: those asked for, never more than there are cores; the share where nobody asks."""
    return share if asked is None else max(1, min(asked, cores))
