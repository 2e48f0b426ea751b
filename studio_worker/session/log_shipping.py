"""Log lines on their way to the studio: gathered from any thread, shipped in rounds, bounded in every direction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from studio_worker.clock import Clock, rfc3339
from studio_worker.log import Level
from studio_worker.masks import Masks, RememberedMasks
from studio_worker.text import escape
from studio_worker.wire import strict_json
from studio_worker.wire.frames import MAX_LOG_ENTRIES, LogBatch

MAX_BATCH_BYTES = 256 * 1024
MAX_BATCHES = 20
MAX_GROUP = MAX_LOG_ENTRIES - 1
"""Lines in a frame; one more may say how many are missing."""

MAX_WAITING = MAX_GROUP * MAX_BATCHES
"""Lines that wait: as many as one round can ship."""

MAX_MESSAGE = 2_000
MAX_LABEL = 200
MAX_SECRET = 4_096

_ENVELOPE_BYTES = len(LogBatch().text().encode())


class Line(NamedTuple):
    """One line as it was logged; made fit for the wire only when it is shipped."""

    at: datetime
    level: Level
    category: str
    message: str
    job_id: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """One frame's worth: the text that travels, and the lines to put back if it does not."""

    text: str
    lines: tuple[Line, ...]


class LogShipper:
    """A `LogSink` whose lines outlive sessions.

    Args:
        clock: dates the lines.
        secrets: what must never leave in a line (tokens, the secrets of plugins), asked anew for each round.
    """

    def __init__(self, clock: Clock, secrets: Callable[[], Iterable[str | None]] = tuple) -> None:
        self._clock = clock
        self._masks = RememberedMasks(secrets)
        self._lines: deque[Line] = deque()
        self._dropped = 0
        # add() is called from engine threads; nothing slow happens under the lock.
        self._lock = threading.Lock()

    def add(self, level: Level, category: str, message: str, *, job_id: str | None = None) -> None:
        """Take one line, from any thread; beyond `MAX_WAITING` the oldest goes."""
        # Cut only after masking: half a secret at the end would be masked by nothing.
        line = Line(self._clock.now(), level, category, message[: MAX_MESSAGE + MAX_SECRET], job_id)
        with self._lock:
            self._lines.append(line)
            if len(self._lines) > MAX_WAITING:
                self._drop_beyond()

    def masked(self, text: str) -> str:
        """A text that goes to the studio by another way, without what must never leave in a line."""
        return self._masks.now().hide(text)

    @property
    def waiting(self) -> int:
        """Lines that wait."""
        return len(self._lines)

    def take(self) -> list[Batch]:
        """One round: everything that waits, oldest first, in at most `MAX_BATCHES` frames.

        What does not fit is dropped, oldest first, and one line in front says how many are missing.
        """
        with self._lock:
            lines, self._lines = self._lines, deque()
            dropped, self._dropped = self._dropped, 0
        if not lines and not dropped:
            return []
        masks = self._masks.now()
        # Room is kept for the line that counts what is missing, which becomes known only by packing.
        groups, left_out = _pack(lines, masks, reserve=400)
        dropped += left_out
        if dropped:
            missing = Line(self._clock.now(), "warn", "logs", f"{dropped:,} older lines were dropped", None)
            groups = groups or [[]]
            groups[0].insert(0, (missing, _entry_text(missing, masks)))
        return [
            Batch(
                f'{{"type":"logBatch","entries":[{",".join(text for _, text in group)}]}}',
                tuple(line for line, _ in group),
            )
            for group in groups
        ]

    def put_back(self, batches: Iterable[Batch]) -> None:
        """Put lines that were not shipped back to the front, in their order."""
        lines = [line for batch in batches for line in batch.lines]
        with self._lock:
            self._lines.extendleft(reversed(lines))
            self._drop_beyond()

    def _drop_beyond(self) -> None:
        while len(self._lines) > MAX_WAITING:
            self._lines.popleft()
            self._dropped += 1


def _pack(lines: Sequence[Line], masks: Masks, *, reserve: int) -> tuple[list[list[tuple[Line, str]]], int]:
    """Groups that keep the bounds, filled from the newest line backwards; and how many lines found no room."""
    groups: list[list[tuple[Line, str]]] = []
    size = MAX_BATCH_BYTES
    for count, line in enumerate(reversed(lines)):
        text = _entry_text(line, masks)
        length = len(text.encode()) + 1
        if not groups or size + length > MAX_BATCH_BYTES or len(groups[-1]) >= MAX_GROUP:
            if len(groups) == MAX_BATCHES:
                return _in_order(groups), len(lines) - count
            groups.append([])
            size = _ENVELOPE_BYTES + reserve
        groups[-1].append((line, text))
        size += length
    return _in_order(groups), 0


def _in_order(groups: list[list[tuple[Line, str]]]) -> list[list[tuple[Line, str]]]:
    return [group[::-1] for group in groups[::-1]]


def _entry_text(line: Line, masks: Masks) -> str:
    message = masks.hide(line.message)
    entry = {
        "ts": rfc3339(line.at),
        "level": line.level,
        "category": escape(line.category, limit=MAX_LABEL),
        "message": escape(message, limit=MAX_MESSAGE)[:MAX_MESSAGE].strip() or "(empty)",
    }
    if line.job_id:
        entry["jobId"] = escape(line.job_id, limit=MAX_LABEL)
    return strict_json.dumps(entry)
