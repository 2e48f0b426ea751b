"""What an engine in a child says beside its results: log lines, what native libraries print, words that come late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from studio_worker.engines.captured import CapturedOutput, LineBudget
from studio_worker.engines.messages import Log
from studio_worker.log import logger
from studio_worker.text import escape

_LEVELS = frozenset({"TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"})
_MAX_FIELD = 8_000


class EngineVoice:
    """Writes it all into the worker's log, each line with the job that it belongs to, as far as that is known.

    Args:
        name: the engine's name.
        now: seconds that only grow.
    """

    def __init__(self, name: str, now: Callable[[], float]) -> None:
        self._name = name
        self._output = CapturedOutput(self._line, now)
        self._budget = LineBudget(now)
        self._job_id: str | None = None
        self._has_spoken_late = False

    def begins(self, job_id: str, *, alone: bool) -> None:
        """A run begins: what is printed from now on is put down to it, and nothing before, where it is `alone`."""
        self._job_id = job_id
        if alone:
            self._output.forget()

    def printed(self, data: bytes) -> None:
        """Something came out of stdout or stderr."""
        self._output.feed(data)

    def close(self) -> None:
        """Nothing more is printed."""
        self._output.close()

    @property
    def last_words(self) -> str:
        """The last lines that were printed."""
        return self._output.last_words

    def said(self, message: Log, job_id: str | None) -> None:
        """A log line of the engine's; its text travels in a field, since it comes from outside."""
        if not self._budget.take():
            return
        level = message.level if message.level in _LEVELS else "INFO"
        fields: dict[str, Any] = {
            escape(name, limit=80): escape(value, limit=_MAX_FIELD) if isinstance(value, str) else value
            for name, value in message.fields.items()
        }
        fields |= {"engine": self._name, "said": escape(message.text), "left_out": self._budget.take_left_out() or None}
        if job_id is not None:
            fields["job_id"] = job_id
        logger.bind(**{"event": "engine.log", **fields}).log(level, "An engine says")

    def spoke_late(self) -> None:
        """A message of a run that has ended: ignored, and logged once."""
        if not self._has_spoken_late:
            self._has_spoken_late = True
            logger.bind(event="engine.late", engine=self._name).warning(
                "An engine speaks of a job that has ended; that is ignored"
            )

    def _line(self, text: str) -> None:
        # Libraries print prompts too, and no prompt may stand in a line above debug.
        logger.bind(event="engine.output", engine=self._name, job_id=self._job_id, line=text).debug("An engine printed")
