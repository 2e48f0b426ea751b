"""Every interval and bound of registration and session (protocol sections 1 and 3), as one injectable value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds, all of them.

    Attributes:
        request_secs: one HTTP request of the registration, in total.
        upgrade_secs: name look-up, TCP, TLS and WebSocket upgrade together.
        welcome_secs: from hello to welcome.
        heartbeat_secs: from heartbeat to heartbeat.
        ack_secs: how old the oldest unanswered heartbeat may be.
        silence_secs: how old the studio's last text frame may be.
        watch_secs: how often silence and suspension are looked at.
        suspend_secs: a gap in time that counts as a suspended machine.
        log_secs: from one round of log lines to the next.
        flush_secs: for the last round of log lines at a close.
        close_secs: for the closing handshake.
        settled_secs: after so long a welcome, failures before it are forgotten.
        aside_secs: how long an offer that keeps breaking the link is set aside.
        skew_secs: how far the studio's clock may be off without a warning.
    """

    request_secs: float = 60.0
    upgrade_secs: float = 15.0
    welcome_secs: float = 20.0
    heartbeat_secs: float = 5.0
    ack_secs: float = 15.0
    silence_secs: float = 20.0
    watch_secs: float = 1.0
    suspend_secs: float = 20.0
    log_secs: float = 1.0
    flush_secs: float = 1.0
    close_secs: float = 2.0
    settled_secs: float = 30.0
    aside_secs: float = 300.0
    skew_secs: float = 60.0
