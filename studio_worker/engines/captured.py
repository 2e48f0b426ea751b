"""What an engine's process prints, as log lines: bounded in length and in number, whatever comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from studio_worker.text import escape

MAX_LINE_BYTES = 2_000
"""Bytes of a line that are kept; the rest of it is dropped, and a mark says so."""

MAX_LINES_A_SECOND = 100
"""Lines that are handed on; the others are counted."""

LAST_LINES = 3
CUT = " … (cut)"


class LineBudget:
    """How many lines of an engine may still be handed on in this second.

    Args:
        now: seconds that only grow.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._window = 0.0
        self._lines = 0
        self.left_out = 0

    @property
    def is_spent(self) -> bool:
        """Whether no line may be handed on now."""
        now = self._now()
        if now - self._window >= 1.0:
            self._window, self._lines = now, 0
        return self._lines >= MAX_LINES_A_SECOND

    def take(self) -> bool:
        """Whether one line may be handed on; one that may not is counted."""
        if self.is_spent:
            self.left_out += 1
            return False
        self._lines += 1
        return True

    def take_left_out(self) -> int:
        """How many lines were not handed on since this was asked last."""
        count, self.left_out = self.left_out, 0
        return count


class CapturedOutput:
    """Cuts a stream of bytes into lines.

    Args:
        hand_on: takes each line.
        now: seconds that only grow.
    """

    def __init__(self, hand_on: Callable[[str], None], now: Callable[[], float]) -> None:
        self._hand_on = hand_on
        self._budget = LineBudget(now)
        self._line = bytearray()
        self._is_cut = False
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    def feed(self, data: bytes) -> None:
        """Take what was printed."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._grow(data, start, end)
            self._end_line()
            start = end + 1
            if self._budget.is_spent:
                # Nobody can read a flood; only its end may say what happened.
                rest = max(start, data.rfind(b"\n", start, max(start, len(data) - 4 * MAX_LINE_BYTES)) + 1)
                self._budget.left_out += data.count(b"\n", start, rest)
                start = rest
        self._grow(data, start, len(data))

    def forget(self) -> None:
        """What was printed so far is nobody's last word any more."""
        self._last.clear()

    def close(self) -> None:
        """No more comes: the line that was begun is one."""
        self._end_line()
        self._tell_left_out()

    @property
    def last_words(self) -> str:
        """The last lines that say something, escaped, on one line."""
        return " | ".join(self._last)

    def _grow(self, data: bytes, start: int, end: int) -> None:
        room = MAX_LINE_BYTES - len(self._line)
        self._line += data[start : min(end, start + room)]
        self._is_cut |= end - start > room

    def _end_line(self) -> None:
        text = self._line.decode(errors="replace").strip()
        # Progress bars rewrite their line; the last state is what it says.
        text = text.rsplit("\r", 1)[-1].strip()
        mark = CUT if self._is_cut else ""
        self._line.clear()
        self._is_cut = False
        if not text:
            return
        self._last.append(escape(text, limit=200) + mark)
        if self._budget.take():
            self._tell_left_out()
            self._hand_on(escape(text, limit=MAX_LINE_BYTES) + mark)

    def _tell_left_out(self) -> None:
        if count := self._budget.take_left_out():
            self._hand_on(f"… ({count:,} lines left out)")
