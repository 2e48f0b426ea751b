"""Progress from an engine, from any thread and at any rate, made sane and slow enough to hand on."""

from __future__ import annotations

import asyncio
import threading

from studio_worker.engines.base import ProgressCallback
from studio_worker.log import logger
from studio_worker.masks import NO_MASKS, Masks
from studio_worker.text import escape

INTERVAL_SECS = 0.1
"""The least time between two reports that are handed on; what comes between is replaced by what comes later."""

MAX_PREVIEW_BYTES = 512 * 1024
MAX_STEPS = 2**31 - 1
MAX_STAGE = 64


class ProgressRelay:
    """Hands the latest progress of one job to `deliver`, on the loop, at most every `interval_secs`.

    Steps are clamped into 0…total and a total of at least 1; a preview that is no bytes, empty or over 512 KiB is
    left out; a report that is no numbers is dropped. The first report goes at once, the last when the job ends.

    Made on the loop; called from any thread. What `masks` hides is in no stage.
    """

    def __init__(
        self,
        deliver: ProgressCallback,
        *,
        job_id: str,
        interval_secs: float = INTERVAL_SECS,
        masks: Masks = NO_MASKS,
    ) -> None:
        self._deliver = deliver
        self._job_id = job_id
        self._interval_secs = interval_secs
        self._masks = masks
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._latest: tuple[int, int, str, bytes | None] | None = None
        self._is_waking = False
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __call__(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Take a report. Never raises, never blocks."""
        report = sane(step, total, stage, preview)
        if report is None:
            return
        with self._lock:
            if self._is_closed:
                return
            if report[3] is None and self._latest is not None:
                report = (*report[:3], self._latest[3])
            self._latest = report
            if self._is_waking:
                return
            self._is_waking = True
        if threading.get_ident() == self._loop_thread:
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop is closed; nobody is left to tell.
            return

    def close(self, *, flush: bool) -> None:
        """Take no more reports; on the loop. `flush` hands on the last one first."""
        with self._lock:
            self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if flush:
            self._send()

    def _wake(self) -> None:
        if self._is_closed:
            return
        wait = self._not_before - self._loop.time()
        if wait > 0:
            self._timer = self._loop.call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        with self._lock:
            report, self._latest = self._latest, None
            self._is_waking = False
        if report is None:
            return
        self._not_before = self._loop.time() + self._interval_secs
        step, total, stage, preview = report
        try:
            self._deliver(step, total, self._masks.hide(stage), preview)
        except Exception as error:  # noqa: BLE001 - whoever listens must not end the job
            logger.bind(event="engine.progress", job_id=self._job_id).opt(exception=error).error(
                "A listener of progress failed"
            )


def sane(step: object, total: object, stage: object, preview: object) -> tuple[int, int, str, bytes | None] | None:
    """A report that may be handed on, clamped and bounded; None for one that is no numbers."""
    if not isinstance(step, (int, float)) or not isinstance(total, (int, float)):
        return None
    try:
        whole, part = int(total), int(step)
    except (ValueError, OverflowError):
        return None
    whole = min(max(whole, 1), MAX_STEPS)
    image = preview if isinstance(preview, bytes) and 0 < len(preview) <= MAX_PREVIEW_BYTES else None
    return min(max(part, 0), whole), whole, escape(str(stage), limit=MAX_STAGE), image
