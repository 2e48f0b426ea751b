"""What a child has to say to its worker: whole messages, from any thread; progress slowed down where it arises."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, BinaryIO

from studio_worker.engines.base import AudioChunk, TextDelta
from studio_worker.engines.framing import pack
from studio_worker.engines.job_wire import pack_bytes
from studio_worker.engines.messages import Chunk, Log, Progress, Up, to_json
from studio_worker.engines.progress import sane

INTERVAL_SECS = 0.05
"""The least time between two rounds of progress; what comes between is replaced by what comes later."""

MAX_CHUNK_BYTES = 1024 * 1024
MAX_TEXT = 4_000
MAX_FIELDS = 20


class Outbox:
    """The way up. A pipe that takes nothing any more means that the worker is gone: the process ends."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._writing = threading.Lock()
        self._progress = threading.Condition()
        self._latest: dict[int, tuple[int, int, str, bytes | None]] = {}
        self._is_ticking = False

    def send(self, message: Up) -> None:
        """Write a message.

        Raises:
            BrokenFrame: it is over 16 MiB.
        """
        frame = pack(to_json(message))
        try:
            with self._writing:
                self._answers.write(frame)
                self._answers.flush()
        except (OSError, ValueError):
            os._exit(1)

    def progress(self, run: int, step: int, total: int, stage: str, preview: bytes | None) -> None:
        """Take a report; the latest of each run goes up soon."""
        report = sane(step, total, stage, preview)
        if report is None:
            return
        with self._progress:
            before = self._latest.get(run)
            if report[3] is None and before is not None:
                report = (*report[:3], before[3])
            self._latest[run] = report
            if not self._is_ticking:
                self._is_ticking = True
                threading.Thread(target=self._tick, name="progress", daemon=True).start()
            self._progress.notify()

    def flush_progress(self, run: int) -> None:
        """Send the last report of a run that ends."""
        with self._progress:
            if (report := self._latest.pop(run, None)) is not None:
                self._send_report(run, report)

    def chunk(self, run: int, piece: TextDelta | AudioChunk) -> None:
        """Send a piece of a streamed result."""
        if isinstance(piece, TextDelta):
            self.send(Chunk(run, str(piece.text), str(piece.reasoning), None, 0))
            return
        for start in range(0, max(len(piece.pcm), 1), MAX_CHUNK_BYTES):
            pcm = pack_bytes(bytes(piece.pcm[start : start + MAX_CHUNK_BYTES]))
            self.send(Chunk(run, "", "", pcm, int(piece.rate)))

    def log(self, message: Any) -> None:
        """A sink of loguru: each record goes up with the run that it belongs to."""
        record = message.record
        extra = dict(record["extra"])
        run = extra.pop("engine_run", None)
        if (problem := record["exception"]) is not None:
            extra["error"] = f"{problem.type.__name__ if problem.type else 'error'}: {problem.value}"
        fields = {str(name)[:80]: str(value)[: 2 * MAX_TEXT] for name, value in list(extra.items())[:MAX_FIELDS]}
        self.send(Log(run, record["level"].name, record["message"][:MAX_TEXT], fields))

    def _tick(self) -> None:
        while True:
            with self._progress:
                self._progress.wait_for(lambda: self._latest)
                latest, self._latest = self._latest, {}
                for run, report in latest.items():
                    self._send_report(run, report)
            time.sleep(INTERVAL_SECS)

    def _send_report(self, run: int, report: tuple[int, int, str, bytes | None]) -> None:
        step, total, stage, preview = report
        self.send(Progress(run, step, total, stage, pack_bytes(preview)))
