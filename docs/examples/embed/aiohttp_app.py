"""An aiohttp app with a worker and an engine of its own: POST /echo answers word by word, as they come.

    python aiohttp_app.py [PORT]
    curl -N -d "good morning" http://127.0.0.1:8080/echo

Ctrl-C: aiohttp stops listening, then the end of `working` lets the worker finish its jobs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from studio_worker import (
    Config,
    Engine,
    EngineCapabilities,
    EngineJob,
    LlmResult,
    LlmTask,
    Message,
    TaskKind,
    TextDelta,
    Worker,
)

WORKER = web.AppKey("worker", Worker)


class Echo(Engine):
    """Says what it is told, a word at a time, on the app's own event loop."""

    name = "echo"
    isolation = "loop"
    concurrency = 8

    def capabilities(self) -> EngineCapabilities:
        """One model of texts."""
        return EngineCapabilities({TaskKind.LLM: ["echo"]})

    async def run(self, job: EngineJob) -> LlmResult:
        """The whole answer, for those who do not stream."""
        *_, result = [piece async for piece in self.stream(job)]
        assert isinstance(result, LlmResult)
        return result

    async def stream(self, job: EngineJob) -> AsyncIterator[TextDelta | LlmResult]:
        """The words, then the whole answer."""
        assert isinstance(job.task, LlmTask)
        words = job.task.messages[-1].content.split()
        for word in words:
            yield TextDelta(f"{word} ")
            await asyncio.sleep(0.01)
        said = {"role": "assistant", "content": " ".join(words)}
        used = {"prompt_tokens": len(words), "completion_tokens": len(words), "total_tokens": 2 * len(words)}
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        yield LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": used})


async def echo(request: web.Request) -> web.StreamResponse:
    """Stream an answer; a client that leaves ends its job."""
    task = LlmTask(messages=(Message(role="user", content=await request.text()),))
    job = request.app[WORKER].submit(task, model="echo", stream=True)
    try:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in job:
            if isinstance(piece, TextDelta):
                await response.write(piece.text.encode())
        await job
    finally:
        job.cancel("its client has gone")
    return response


async def working(app: web.Application) -> AsyncIterator[None]:
    """The worker starts before the first request and stops after the last."""
    config = Config(api_base_url=None, state_dir=Path("worker-state"), max_concurrent_jobs=8)
    async with Worker(config, engines=[Echo()]) as worker:
        app[WORKER] = worker
        yield


def make_app() -> web.Application:
    """The app."""
    app = web.Application()
    app.cleanup_ctx.append(working)
    app.router.add_post("/echo", echo)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
