"""Faults of tidiness: an engine that leaves memory, threads, files or children behind after each job."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from typing import Any, Literal, TypeAlias, Unpack

from studio_worker.engines.base import Engine, EngineJob
from studio_worker.testing.chaos.fault import Fault
from studio_worker.testing.chaos.options import check_whole, check_word
from studio_worker.testing.chaos.turns import When

Leak: TypeAlias = Literal["memory", "threads", "files", "children"]

MIB = 1024 * 1024
CHILD_SECS = 600
"""After that a child ends by itself, whatever a test forgets."""


def leak(engine: Engine | None = None, what: Leak = "memory", amount: int = 1, **when: Unpack[When]) -> Fault:
    """An engine that does its job and leaves something behind: until `release`, or the end of its process.

    Args:
        engine: what to spoil.
        what: ``memory``, ``threads`` (daemons), open ``files`` or ``children`` (processes).
        amount: how much a job leaves: MiB of memory, or a number of the others.
        **when: which jobs.
    """
    return _Leak(engine, when, what=what, amount=amount)


class _Leak(Fault):
    def __init__(self, engine: Engine | None, when: When, *, what: Leak, amount: int) -> None:
        super().__init__(engine, when)
        check_word("what", what, Leak)
        check_whole("amount", amount, least=1)
        self._what = what
        self._amount = amount
        self._released = threading.Event()
        self._held: list[Any] = []

    def after(self, job: EngineJob, result: Any) -> Any:
        if self._what == "memory":
            self._held.append(b"\xa5" * (self._amount * MIB))
        else:
            self._held += [self._left() for _ in range(self._amount)]
        return result

    def release(self) -> None:
        self._released.set()
        held, self._held = self._held, []
        for each in held:
            if isinstance(each, threading.Thread):
                each.join()
            elif isinstance(each, subprocess.Popen):
                each.kill()
                each.wait()
            elif not isinstance(each, bytes):
                each.close()

    def _left(self) -> Any:
        match self._what:
            case "threads":
                thread = threading.Thread(target=self._released.wait, name="chaos-leak", daemon=True)
                thread.start()
                return thread
            case "files":
                return tempfile.TemporaryFile()
            case "children":
                wait = f"import time; time.sleep({CHILD_SECS})"
                return subprocess.Popen([sys.executable, "-I", "-S", "-c", wait], stdin=subprocess.DEVNULL)
