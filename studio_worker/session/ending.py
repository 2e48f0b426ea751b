"""How a session ended, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from studio_worker.text import escape
from studio_worker.wire.frames import CloseCode

MAX_REASON = 500
"""Characters of a studio's words that are kept."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The end of one connection, or of the attempt to make one.

    Attributes:
        reason: why, in words for people; holds nothing unescaped.
        code: the close code, or the one that an `error` frame or a 401 pairs with; None where there was none.
        is_breach: whether the studio broke RFC 6455 or the size limit.
        welcome_secs: how long the session had been welcome; None where it never was.
        is_stop: whether this worker ended the session because it was told to stop.
    """

    reason: str
    code: int | None = None
    is_breach: bool = False
    welcome_secs: float | None = None
    is_stop: bool = False

    @classmethod
    def by_close(cls, code: int | None, words: str) -> SessionEnded:
        """The studio sent a close frame."""
        said = f": {escape(words, limit=MAX_REASON)}" if words else ""
        return cls(f"the studio closed the session ({code or 'no code'}{said})", code)

    @classmethod
    def by_error(cls, error: str, code: CloseCode | None, words: str) -> SessionEnded:
        """The studio sent an `error` frame."""
        said = f": {escape(words, limit=MAX_REASON)}" if words else ""
        return cls(f"the studio ended the session with {escape(error, limit=60) or 'an error'}{said}", code)
