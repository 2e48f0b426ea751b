"""Signs of life of one session, and when their absence means that it is dead. Times come in; nothing is waited for."""

from __future__ import annotations

from studio_worker.session.timings import Timings


class Pulse:
    """What was heard, and what is still to be answered (protocol section 3).

    Args:
        now: the time of the upgrade, in seconds that only grow.
        timings: the bounds.
    """

    def __init__(self, now: float, timings: Timings) -> None:
        self.opened_at = now
        self.welcome_at: float | None = None
        self.last_frame_at: float | None = None
        self.last_ack_at: float | None = None
        self._unanswered_since: float | None = None
        self._timings = timings

    def heard(self, now: float) -> None:
        """A text frame came. Pings, pongs and binary frames are no sign of life."""
        self.last_frame_at = now

    def welcomed(self, now: float) -> None:
        """The studio said welcome."""
        self.welcome_at = now

    def beat(self, now: float) -> None:
        """A heartbeat was sent."""
        if self._unanswered_since is None:
            self._unanswered_since = now

    def acknowledged(self, now: float) -> None:
        """A heartbeatAck came; it answers for every heartbeat before it."""
        self.last_ack_at = now
        self._unanswered_since = None

    def failure(self, now: float) -> str | None:
        """Why the session is dead by now, or None while it is not."""
        bounds = self._timings
        if self.welcome_at is None:
            if now - self.opened_at >= bounds.welcome_secs:
                return f"no welcome within {bounds.welcome_secs:g} s"
            return None
        if self._unanswered_since is not None and now - self._unanswered_since >= bounds.ack_secs:
            return f"no heartbeatAck for {bounds.ack_secs:g} s"
        if now - max(self.last_frame_at or 0.0, self.welcome_at) >= bounds.silence_secs:
            return f"no frame from the studio for {bounds.silence_secs:g} s"
        return None

    def welcome_secs(self, now: float) -> float | None:
        """How long the session has been welcome."""
        return None if self.welcome_at is None else now - self.welcome_at
