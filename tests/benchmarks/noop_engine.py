"""The engine of the benchmarks: gives back what was made beforehand."""

import io
import os

from PIL import Image

from studio_worker import Engine, EngineCapabilities, EngineJob, ImageResult, LlmResult, TaskKind

COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 0,
    "model": "noop",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


SIDE = 600
"""Pixels a side: three bytes each are a little more than a megabyte."""


def picture(side: int) -> bytes:
    """A PNG of noise, not compressed."""
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(out, "PNG", compress_level=0)
    return out.getvalue()


PICTURE = picture(SIDE)


class NoopEngine(Engine):
    """Does nothing, on the loop."""

    name = "noop"
    isolation = "loop"

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.LLM: ["noop"], TaskKind.IMAGE: ["noop"]})

    async def run(self, job: EngineJob) -> LlmResult | ImageResult:
        return LlmResult(COMPLETION) if job.task.kind is TaskKind.LLM else ImageResult(PICTURE, "png")
