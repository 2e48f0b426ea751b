"""One run in an engine's child, as the worker follows it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field

from studio_worker.engines.base import AudioChunk, EngineJob, TextDelta
from studio_worker.engines.failures import unpack_error
from studio_worker.engines.job_watch import UNMEASURED, Held
from studio_worker.engines.job_wire import unpack_bytes
from studio_worker.engines.messages import Chunk, Done, Failed, Loaded, Progress, Started
from studio_worker.engines.working import ChunkCallback
from studio_worker.errors import EngineError


@dataclass(slots=True, eq=False)
class RunInChild:
    """One run.

    Attributes:
        number: what the child knows it by.
        job: what it does; its progress goes on from here.
        on_chunk: takes the pieces of a stream.
        outcome: what came back; cancelled when nobody waits for it any more.
        let_go: set when the engine is done with it, whether or not anybody waits.
        has_started: whether a thread of the child has taken it.
    """

    number: int
    job: EngineJob
    on_chunk: ChunkCallback | None
    outcome: asyncio.Future[Done]
    let_go: Future[None] = field(default_factory=Future)
    has_started: bool = False

    def heard(self, message: Started | Loaded | Progress | Chunk | Done | Failed) -> bool:
        """Take a message of this run; whether it has ended. What nobody waits for any more is ignored,
        but for a model that was loaded.

        Raises:
            BrokenFrame: the message carries bytes that cannot be read.
        """
        is_awaited = not self.outcome.done()
        watch = self.job._watch  # noqa: SLF001 - the host's side of a job
        match message:
            case Started():
                self.has_started = True
                if is_awaited and watch is not None:
                    watch.taken()
                    if not message.loads:
                        watch.loaded(UNMEASURED)
            case Loaded() if watch is not None:
                # Also where nobody waits for the job any more: its model is in memory, and has to be counted.
                watch.loaded(_held(message))
            case Progress() if is_awaited:
                preview = None if message.preview is None else unpack_bytes(message.preview)
                self.job.progress(message.step, message.total, stage=message.stage, preview=preview)
            case Chunk() if is_awaited and self.on_chunk is not None:
                self.on_chunk(_piece(message))
            case Done():
                if is_awaited:
                    self.outcome.set_result(message)
                return True
            case Failed():
                if is_awaited:
                    self.outcome.set_exception(unpack_error(message.kind, message.message, message.retryable))
                return True
        return False

    def is_lost(self, error: EngineError) -> bool:
        """Fail the run with `error`, whose child is gone; whether anybody waited for it."""
        if self.outcome.done():
            return False
        self.outcome.set_exception(unpack_error(type(error).__name__, str(error), retryable=True))
        return True


def _held(message: Loaded) -> Held:
    """What the child has measured, which nobody can check but for its sign."""
    ram, vram = (None if size is None else max(size, 0) for size in (message.ram_bytes, message.vram_bytes))
    return Held(ram, vram)


def _piece(message: Chunk) -> TextDelta | AudioChunk:
    """A piece of a streamed result, without what UTF-8 cannot carry."""
    if message.pcm is not None:
        return AudioChunk(unpack_bytes(message.pcm), message.rate)
    return TextDelta(*(text.encode(errors="replace").decode() for text in (message.text, message.reasoning)))
