"""A local job as its caller holds it: awaitable, cancellable, iterable for its progress."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any, Self

from studio_worker.engines.base import (
    AudioChunk,
    AudioResult,
    ImageResult,
    LlmResult,
    Result,
    TextDelta,
    TranscriptResult,
    VideoResult,
)
from studio_worker.events import JobProgress
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.results import Artifact
from studio_worker.wire.kinds import TaskKind


class Job:
    """A job that `Worker.submit` took.

    ``result = await job`` gives the engine's checked result, bytes in memory; ``async for progress in job`` gives
    `JobProgress` until the job ends; one that streams gives the pieces of its result too (`TextDelta`, `AudioChunk`),
    each of them and in order, while of progress only the latest waits. It is cancelled by `cancel` alone: a caller that
    stops waiting does not end it.

    Attributes:
        id: the job's id, as events and logs name it.
    """

    def __init__(self, job_id: str, cancel: Callable[[str, str], bool], *, stream: bool = False) -> None:
        self.id = job_id
        self._cancel = cancel
        self._latest: JobProgress | None = None
        self._pieces: deque[TextDelta | AudioChunk] = deque()
        self._moved = asyncio.Event()
        self.link = LocalLink(self._on_progress, self._on_chunk if stream else None)
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

    @property
    def meta(self) -> Mapping[str, Any]:
        """What is known of how the result was made: engine, model, seed, seconds; empty before there is a result."""
        result = self.link.result
        is_there = result.done() and not result.cancelled() and result.exception() is None
        return MappingProxyType(dict(result.result().meta) if is_there else {})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobProgress | TextDelta | AudioChunk:
        while not self._pieces and self._latest is None:
            if self.link.result.done():
                raise StopAsyncIteration
            self._moved.clear()
            await self._moved.wait()
        if self._pieces:
            return self._pieces.popleft()
        progress, self._latest = self._latest, None
        assert progress is not None
        return progress

    async def _result(self) -> Result:
        return await asyncio.to_thread(_as_result, await asyncio.shield(self.link.result))

    def _on_progress(self, step: int, total: int, stage: str, preview: bytes | None) -> None:
        self._latest = JobProgress(self.id, step, total, stage, preview)
        self._moved.set()

    def _on_chunk(self, piece: TextDelta | AudioChunk) -> None:
        self._pieces.append(piece)
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
