"""How late the event loop wakes, and who kept it: what blocks it keeps every heartbeat waiting.

A loop that is blocked cannot say by what. A thread looks on from beside it: once the loop is overdue, the thread reads
what the loop's own thread is doing at that moment, which costs nothing while all is well.
"""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
from pathlib import Path
from types import FrameType

from studio_worker.clock import Clock
from studio_worker.log import logger
from studio_worker.readiness import Readiness

LAG_LOOK_SECS = 1.0
LAG_SECS = 1.0
LAG_REMEMBERED_SECS = 10.0
"""How late the loop may wake, and how long a later wake counts against it."""

_PLUMBING = ("aiohttp", "studio_worker")
_STDLIB = sysconfig.get_path("stdlib")


class LoopLag:
    """Notes how late the event loop wakes.

    Args:
        clock: time.
        look_secs: the pace of the looks.
        late_secs: how late the loop may wake.
    """

    def __init__(self, clock: Clock, *, look_secs: float = LAG_LOOK_SECS, late_secs: float = LAG_SECS) -> None:
        self._clock = clock
        self._look_secs = look_secs
        self._allowed_secs = late_secs
        self._late_secs = 0.0
        self._late_at: float | None = None
        self._culprit = ""

    async def run(self) -> None:
        """Measure, for ever."""
        with _Onlooker(self._look_secs + self._allowed_secs / 2) as onlooker:
            while True:
                due = self._clock.monotonic() + self._look_secs
                await self._clock.sleep(self._look_secs)
                now = self._clock.monotonic()
                seen = onlooker.woke()
                if now - due >= self._allowed_secs:
                    self._late_secs, self._late_at, self._culprit = now - due, now, seen
                    logger.bind(event="worker.loop_lag", secs=round(now - due, 1), culprit=seen or None).warning(
                        "The event loop was blocked"
                    )

    def problem(self) -> Readiness | None:
        """``loop_lag`` for a while after the loop was blocked, with the name of who blocked it where it was seen."""
        if self._late_at is None or self._clock.monotonic() - self._late_at > LAG_REMEMBERED_SECS:
            return None
        return Readiness(
            "loop_lag", f"{self._culprit or 'something'} blocked the event loop for {self._late_secs:.1f} s"
        )


class _Onlooker:
    """``with _Onlooker(...)`` on a loop: a thread that looks at what the loop's thread does once it is overdue.

    Args:
        patience_secs: from one wake to the moment when the loop is overdue.
    """

    def __init__(self, patience_secs: float) -> None:
        self._patience_secs = patience_secs
        self._loops_thread = threading.get_ident()
        self._woke_at = time.monotonic()
        self._seen = ""
        self._over = threading.Event()

    def __enter__(self) -> _Onlooker:
        threading.Thread(target=self._look_on, name="loop-lag", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def woke(self) -> str:
        """The loop turns; returns who was seen to keep it since the last time, else nothing."""
        seen, self._seen, self._woke_at = self._seen, "", time.monotonic()
        return seen

    def _look_on(self) -> None:
        looked_at = 0.0
        while True:
            left_secs = self._woke_at + self._patience_secs - time.monotonic()
            if self._over.wait(max(left_secs, self._patience_secs / 8)):
                return
            woke_at = self._woke_at
            if woke_at == looked_at or time.monotonic() < woke_at + self._patience_secs:
                continue
            # One look a wake: what is seen first is what made the loop late.
            looked_at = woke_at
            seen = culprit(sys._current_frames().get(self._loops_thread))  # noqa: SLF001 - the documented way to look
            if self._woke_at == woke_at:
                self._seen = seen


def culprit(frame: FrameType | None) -> str:
    """Who is at work in a loop's thread, as ``module.function (file, line)``; nothing where the loop only waits.

    Of the calls under way it is the outermost that is no plumbing, which is the hook or the engine that the loop
    called, and not what that calls in its turn; where there is none, the innermost.

    Args:
        frame: the innermost call.
    """
    calls = []
    while frame is not None and not _is_turning(frame):
        calls.append(frame)
        frame = frame.f_back
    if not calls or calls[0].f_globals.get("__name__") == "selectors":
        return ""
    chosen = next((call for call in reversed(calls) if not _is_plumbing(call)), calls[0])
    code = chosen.f_code
    module = chosen.f_globals.get("__name__", "?")
    return f"{module}.{code.co_qualname} ({Path(code.co_filename).name}, line {chosen.f_lineno})"


def _is_turning(call: FrameType) -> bool:
    """Whether this is the loop itself, whose callbacks lie further in."""
    module = str(call.f_globals.get("__name__", ""))
    return module.startswith("asyncio.") and call.f_code.co_name in ("_run_once", "run_until_complete", "run")


def _is_plumbing(call: FrameType) -> bool:
    module, file = str(call.f_globals.get("__name__", "")), call.f_code.co_filename
    is_stdlib = file.startswith((f"{_STDLIB}/", "<frozen")) and "-packages/" not in file
    return is_stdlib or module.partition(".")[0] in _PLUMBING
