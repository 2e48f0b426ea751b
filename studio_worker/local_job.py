"""A local job as its caller holds it: awaitable, cancellable, iterable for its progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Self

from studio_worker.engines.base import AudioResult, ImageResult, LlmResult, Result, TranscriptResult, VideoResult
from studio_worker.events import JobProgress
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.results import Artifact
from studio_worker.wire.kinds import TaskKind


class Job:
    """A job that `Worker.submit` took.

    ``result = await job`` gives the engine's checked result, bytes in memory; ``async for progress in job`` gives
    `JobProgress` until the job ends. It is cancelled by `cancel` alone: a caller that stops waiting does not end it.

    Attributes:
        id: the job's id, as events and logs name it.
    """

    def __init__(self, job_id: str, cancel: Callable[[str, str], bool]) -> None:
        self.id = job_id
        self._cancel = cancel
        self._latest: JobProgress | None = None
        self._moved = asyncio.Event()
        self.link = LocalLink(self._on_progress)
        self.link.result.add_done_callback(lambda _: self._moved.set())

    def __await__(self) -> Generator[object, None, Result]:
        """The result.

        Raises:
            JobError: what ended the job.
        """
        return self._result().__await__()

    def cancel(self, reason: str = "its caller asked for it") -> bool:
        """End the job; awaiting it raises `JobCancelled`. False where it has ended already."""
        return self._cancel(self.id, reason)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobProgress:
        while self._latest is None:
            if self.link.result.done():
                raise StopAsyncIteration
            self._moved.clear()
            await self._moved.wait()
        progress, self._latest = self._latest, None
        return progress

    async def _result(self) -> Result:
        return await asyncio.to_thread(_as_result, await asyncio.shield(self.link.result))

    def _on_progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        self._latest = JobProgress(self.id, step, total, stage, preview)
        self._moved.set()


def _as_result(artifact: Artifact) -> Result:
    if artifact.kind is TaskKind.LLM:
        return LlmResult(artifact.json or {})
    if artifact.kind is TaskKind.AUDIO_STT:
        return TranscriptResult(artifact.json or {})
    data = artifact.data if isinstance(artifact.data, bytes) else artifact.data.read_bytes() if artifact.data else b""
    match artifact.kind:
        case TaskKind.IMAGE:
            return ImageResult(data, artifact.ext)
        case TaskKind.AUDIO_TTS:
            return AudioResult(data, artifact.ext)
        case _:
            return VideoResult(data, artifact.ext)
