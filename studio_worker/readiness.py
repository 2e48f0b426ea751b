"""Whether a worker would take a job now, and if not, why: put together from evidence that a failure cannot forge.

Nothing here asks a part how it feels. The session is judged by when the studio's last frame and its last answer came,
the event loop by how late it woke, the disk by a look that has to be young.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio_worker.clock import Clock
from studio_worker.jobs.journal import Trouble
from studio_worker.lookout import Lookout
from studio_worker.private_file import reason
from studio_worker.session.state import SessionSnapshot
from studio_worker.session.timings import Timings

DISK_LOOK_SECS = 5.0
DISK_AGE_SECS = 20.0
"""A look at the disk older than that has not come back: the disk hangs."""

LEAST_FREE_BYTES = 64 * 1024 * 1024
"""What the state folder needs: the results of a busy minute."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """A verdict: `code` for programs (``ok`` where the worker is ready), `detail` for people."""

    code: str
    detail: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether an offer would be taken."""
        return self.code == "ok"

    def to_json(self) -> dict[str, Any]:
        """As the heartbeat's `health` and ``/daemon/status`` carry it."""
        return {"ready": self.is_ready, "code": self.code, "detail": self.detail}


READY = Readiness("ok")


class DiskWatch:
    """Looks at the state folder, in a thread that holds up nobody: a disk may never answer.

    Args:
        folder: the state folder.
        clock: time.
        free_bytes: what is free where a folder lies; may block, raises OSError.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._free_bytes = free_bytes
        self._lookout = Lookout("disk-watch")
        self._seen: Trouble | None = None
        self._seen_at = clock.monotonic()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            # One for which there is no thread is none: what was seen grows old.
            with suppress(TimeoutError):
                self._seen = await self._lookout.look(self._look)
                self._seen_at = self._clock.monotonic()
            await self._clock.sleep(DISK_LOOK_SECS)

    def problem(self) -> Trouble | None:
        """``disk_full``, ``state_folder``, or ``disk_hangs`` where no look has come back for a while."""
        if self._clock.monotonic() - self._seen_at > DISK_AGE_SECS:
            return Trouble("disk_hangs", f"the state folder {self._folder} does not answer")
        return self._seen

    def _look(self) -> Trouble | None:
        try:
            free = self._free_bytes(self._folder)
        except OSError as error:
            return Trouble("state_folder", f"the state folder {self._folder} cannot be used: {reason(error)}")
        if not os.access(self._folder, os.W_OK):
            return Trouble("state_folder", f"the state folder {self._folder} cannot be written")
        if free < LEAST_FREE_BYTES:
            least = LEAST_FREE_BYTES // 1024**2
            return Trouble("disk_full", f"{self._folder} has {free // 1024**2} MiB left, {least} MiB are needed")
        return None


def session_problem(session: SessionSnapshot, timings: Timings) -> Readiness | None:
    """What keeps the studio from reaching the worker.

    Returns:
        ``no_session``; ``no_ack`` or ``no_frames`` where the studio has missed two heartbeats, ahead of the session's
        own end for that reason; ``link_breaks`` while an offer that cannot be read keeps ending sessions.
    """
    if session.state.phase != "connected" or session.welcome_secs is None:
        why = session.state.reason or session.state.phase.replace("_", " ")
        return Readiness("no_session", f"no session with the studio: {why}")
    patience = 2 * timings.heartbeat_secs + timings.watch_secs
    for code, age, what in (
        ("no_ack", session.last_ack_secs, "answer to a heartbeat"),
        ("no_frames", session.last_frame_secs, "frame from the studio"),
    ):
        # One of an earlier session is as old as that session; this one has had its own time.
        secs = session.welcome_secs if age is None else min(age, session.welcome_secs)
        if secs > patience:
            return Readiness(code, f"no {what} for {secs:.0f} s")
    if session.is_shy:
        return Readiness("link_breaks", "an offer that cannot be read keeps breaking the link: none is asked for now")
    return None
