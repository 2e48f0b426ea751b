"""Faults of memory: what an engine raises where there is too little, or too little in truth."""

from __future__ import annotations

import sys
from typing import Literal, TypeAlias, Unpack

from studio_worker.engines.base import Engine, EngineJob
from studio_worker.errors import EngineError, OutOfMemory
from studio_worker.testing.chaos.fault import Fault, Stage, check_own_process
from studio_worker.testing.chaos.options import check_word
from studio_worker.testing.chaos.turns import When

Exhaustion: TypeAlias = Literal["raise", "python", "exhaust"]

MIB = 1024 * 1024
ROOM_MIB = 64
"""What is left to a process that is to run out of memory."""


def out_of_memory(
    engine: Engine | None = None, how: Exhaustion = "raise", *, at: Stage = "run", **when: Unpack[When]
) -> Fault:
    """An engine that runs out of memory.

    Args:
        engine: what to spoil.
        how: ``raise`` raises `OutOfMemory`, as a careful engine does; ``python`` raises a MemoryError; ``exhaust``
            takes memory until there is none, under a limit of 64 MiB more than the process has: in a process of the
            engine's own, on Linux. Elsewhere the job fails and says so.
        at: whether the job fails or the load of its model.
        **when: which jobs.
    """
    return _OutOfMemory(engine, when, how=how, at=at)


class _OutOfMemory(Fault):
    def __init__(self, engine: Engine | None, when: When, *, how: Exhaustion, at: Stage) -> None:
        super().__init__(engine, when, at=at)
        check_word("how", how, Exhaustion)
        self._how = how

    def before(self, job: EngineJob | None) -> None:
        if self._how == "raise":
            raise OutOfMemory("chaos: the model needs 80.0 GB, 8.0 GB are free")
        if self._how == "python":
            raise MemoryError("chaos: a MemoryError")
        check_own_process("chaos.out_of_memory('exhaust')")
        _exhaust()


def _exhaust() -> None:
    """Take memory under a limit that only this process has; raises MemoryError."""
    if sys.platform != "linux":
        raise EngineError("chaos.out_of_memory('exhaust') needs a limit that only Linux keeps", retryable=False)
    import resource

    import psutil

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM_MIB * MIB, hard))
    taken: list[bytearray] = []
    try:
        # The bound is for a system that does not keep the limit.
        taken += (bytearray(MIB) for _ in range(4 * ROOM_MIB))
        raise MemoryError("chaos: the system keeps no limit of memory")
    finally:
        taken.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
