"""What the signals of an operator or a service manager mean to a long-running command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

from studio_worker.log import logger

_STOPPING = [signal.SIGINT, signal.SIGTERM]
if sys.platform == "win32":
    _STOPPING.append(signal.SIGBREAK)


def end_at_once() -> None:
    """Leave without another line: what a third signal asks for."""
    os._exit(1)


def break_off() -> None:
    """Leave as a short command does on Ctrl-C (128 + SIGINT), without another line: what a second signal asks for."""
    os._exit(128 + signal.SIGINT)


def end_on_signals() -> None:
    """Let a stopping signal end the process at once while no `SignalLadder` stands: before the loop, and after it."""
    for number in _STOPPING:
        signal.signal(number, lambda _number, _frame: end_at_once())


class SignalLadder:
    """Each SIGINT or SIGTERM takes the next of `steps`; the last one is repeated.

    For the running event loop of a process that is ours alone: ``with SignalLadder(drain, abandon, end_at_once): …``.
    Where there is a SIGHUP it is ignored: a worker outlives its terminal. (Python itself ignores SIGPIPE.)

    Args:
        steps: called on the event loop, but for the last, which a loop that is stuck must not hold up.
    """

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps: Sequence[Callable[[], None]] = steps
        self._taken = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalLadder:
        """Take over the signals."""
        self._loop = asyncio.get_running_loop()
        for number in _STOPPING:
            self._before[number] = signal.signal(number, self._on_signal)
        if sys.platform != "win32":
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        at = min(self._taken, len(self._steps) - 1)
        self._taken += 1
        if at == len(self._steps) - 1 and at > 0:
            self._steps[at]()
            return
        # Not call_soon: the loop may sleep in its selector, and only this wakes it.
        self._loop.call_soon_threadsafe(self._step, at, number)

    def _step(self, at: int, number: int) -> None:
        logger.bind(event="cli.signal", signal=signal.Signals(number).name, step=at + 1).info("A signal asks to stop.")
        self._steps[at]()
