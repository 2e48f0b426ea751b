"""Faults that end a job at once: an exception, an exit, a signal."""

from __future__ import annotations

import os
import signal
from typing import Literal, TypeAlias, Unpack

from studio_worker.engines.base import Engine, EngineJob
from studio_worker.errors import BadInput
from studio_worker.testing.chaos.fault import Fault, Stage, check_own_process
from studio_worker.testing.chaos.options import check_word
from studio_worker.testing.chaos.turns import When

Crash: TypeAlias = Literal["exit", "signal", "exception", "bad_input"]

EXIT_STATUS = 3
"""What `crash` exits with."""


def crash(engine: Engine | None = None, how: Crash = "exit", *, at: Stage = "run", **when: Unpack[When]) -> Fault:
    """An engine that crashes.

    Args:
        engine: what to spoil.
        how: ``exit`` ends its process by `os._exit`, status 3; ``signal`` by SIGSEGV, as a fault in a native library
            does; ``exception`` raises a RuntimeError; ``bad_input`` raises `BadInput`, which no other try can cure. The
            first two happen only in a process of the engine's own; elsewhere the job fails and says so.
        at: whether the job crashes or the load of its model.
        **when: which jobs.

    Raises:
        TypeError: there is no such option, or its value is of the wrong type; with what is allowed, as in all faults.
        ValueError: an option's value is none that is allowed.
    """
    return _Crash(engine, when, how=how, at=at)


class _Crash(Fault):
    def __init__(self, engine: Engine | None, when: When, *, how: Crash, at: Stage) -> None:
        super().__init__(engine, when, at=at)
        check_word("how", how, Crash)
        self._how = how

    def before(self, job: EngineJob | None) -> None:
        if self._how == "exception":
            raise RuntimeError("chaos: an exception")
        if self._how == "bad_input":
            raise BadInput("chaos: the input is not what the task needs")
        check_own_process(f"chaos.crash({self._how!r})")
        if self._how == "signal":
            signal.raise_signal(signal.SIGSEGV)
        os._exit(EXIT_STATUS)
