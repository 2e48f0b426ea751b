"""Where the session stands, for `status` and readiness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Phase: TypeAlias = Literal[
    "waiting_for_approval", "connecting", "connected", "reconnecting", "auth_failed", "fatal", "stopped"
]


@dataclass(frozen=True, slots=True)
class SessionState:
    """A phase, and what goes with it.

    Attributes:
        phase: the older worker's names, which its dashboards know.
        attempt: reconnects in a row, while reconnecting.
        retry_in_secs: how long the current wait is in all, while reconnecting.
        reason: why the last session ended, or why there will be none.
    """

    phase: Phase = "waiting_for_approval"
    attempt: int = 0
    retry_in_secs: float = 0.0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As `/daemon/status` shows it."""
        out: dict[str, Any] = {"state": self.phase}
        if self.phase == "reconnecting":
            out |= {"attempt": self.attempt, "retryInSecs": round(self.retry_in_secs, 3)}
        if self.reason:
            out["reason"] = self.reason
        return out


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One look at the session.

    Attributes:
        state: where it stands.
        worker_id: as which worker.
        extensions: what the studio listed.
        welcome_secs: how long it has been welcome, None while it is not.
        last_frame_secs: how long ago the studio's last text frame came, over all sessions.
        last_ack_secs: how long ago a heartbeat was last acknowledged, over all sessions.
        is_shy: whether no offers are asked for, since one that cannot be read keeps breaking the link.
    """

    state: SessionState
    worker_id: str | None = None
    extensions: tuple[str, ...] = ()
    welcome_secs: float | None = None
    last_frame_secs: float | None = None
    last_ack_secs: float | None = None
    is_shy: bool = False

    def to_json(self) -> dict[str, Any]:
        """As `/daemon/status` shows it; what is unknown is null."""
        return self.state.to_json() | {
            "workerId": self.worker_id,
            "extensions": list(self.extensions),
            "welcomeSecs": self.welcome_secs,
            "lastFrameSecs": self.last_frame_secs,
            "lastAckSecs": self.last_ack_secs,
        }
