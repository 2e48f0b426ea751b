"""Faults of time: an engine that is slow and lets itself be stopped, and one that hangs and does not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

from studio_worker.engines.base import Engine, EngineJob, ProgressCallback
from studio_worker.testing.chaos.fault import Fault, Stage
from studio_worker.testing.chaos.options import check_number
from studio_worker.testing.chaos.turns import When

SLICE_SECS = 0.02
"""How soon a wait hears that its job is to end."""


def slow(
    engine: Engine | None = None,
    secs: float = 0.1,
    *,
    sleep: Callable[[float], None] = time.sleep,
    **when: Unpack[When],
) -> Fault:
    """An engine that takes `secs` more for each step: each progress and each piece of a stream that it tells.

    An engine that tells nothing has one step. It honours a cancel at once. On the event loop, where no step can wait,
    the time of all steps comes at the end.

    Args:
        engine: what to slow.
        secs: seconds a step.
        sleep: how a thread waits, in slices of 20 ms at most.
        **when: which jobs.
    """
    return _Slow(engine, when, secs=secs, sleep=sleep)


def hang(engine: Engine | None = None, *, at: Stage = "run", **when: Unpack[When]) -> Fault:
    """An engine that never comes back and hears no cancel, until `release` or the end of its process.

    On the event loop it awaits what never comes; the end of its task ends it, as it ends every coroutine.

    Args:
        engine: what to spoil.
        at: whether the job hangs or the load of its model.
        **when: which jobs.
    """
    return _Hang(engine, when, at=at)


class _Slow(Fault):
    def __init__(self, engine: Engine | None, when: When, *, secs: float, sleep: Callable[[float], None]) -> None:
        super().__init__(engine, when)
        check_number("secs", secs)
        if not callable(sleep):
            raise TypeError(f"sleep={sleep!r:.100}: a function that takes seconds is needed")
        self._secs = secs
        self._sleep = sleep

    def before(self, job: EngineJob | None) -> None:
        assert job is not None, "a run is slowed"
        job._on_progress = _Counted(job._on_progress, lambda: self._wait(job))  # noqa: SLF001 - the host's side of a job

    def each(self, job: EngineJob) -> None:
        counted = _counted(job)
        counted.steps += 1
        counted.pay()

    def after(self, job: EngineJob, result: Any) -> Any:
        counted = _counted(job)
        job._on_progress = counted.tell  # noqa: SLF001
        if not counted.steps:
            self._wait(job)
        return result

    async def before_on_loop(self, job: EngineJob) -> None:
        job._on_progress = _Counted(job._on_progress, lambda: None)  # noqa: SLF001

    async def after_on_loop(self, job: EngineJob, result: Any) -> Any:
        counted = _counted(job)
        job._on_progress = counted.tell  # noqa: SLF001
        await asyncio.sleep(self._secs * max(1, counted.steps))
        return result

    def _wait(self, job: EngineJob) -> None:
        left = self._secs
        while left > 0:
            job.check_cancelled()
            self._sleep(min(left, SLICE_SECS))
            left -= SLICE_SECS
        job.check_cancelled()


class _Counted:
    """Progress that is told at once, and then paid for."""

    def __init__(self, tell: ProgressCallback, pay: Callable[[], None]) -> None:
        self.tell = tell
        self.pay = pay
        self.steps = 0

    def __call__(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        self.steps += 1
        self.tell(step, total, stage, preview)
        self.pay()


def _counted(job: EngineJob) -> _Counted:
    counted = job._on_progress  # noqa: SLF001
    assert isinstance(counted, _Counted), "what `before` put there"
    return counted


class _Hang(Fault):
    def __init__(self, engine: Engine | None, when: When, *, at: Stage) -> None:
        super().__init__(engine, when, at=at)
        self._released = threading.Event()
        self._awaited: list[Callable[[], object]] = []

    def before(self, job: EngineJob | None) -> None:
        self._released.wait()

    async def before_on_loop(self, job: EngineJob) -> None:
        released = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._awaited.append(partial(loop.call_soon_threadsafe, released.set))
        if not self._released.is_set():
            await released.wait()

    def release(self) -> None:
        self._released.set()
        for wake in self._awaited:
            wake()
