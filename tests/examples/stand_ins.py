"""Servers that speak the routes which the bridges use: ComfyUI's, and a stream as llama-server and vLLM send it."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

from aiohttp import web
from PIL import Image


class ComfyUi:
    """Queues a prompt, tells its steps over the socket, and has a picture of the size that was asked for.

    ComfyUI itself needs PyTorch, several gigabytes, and is not run here.
    """

    def __init__(self) -> None:
        self.prompts: list[dict[str, Any]] = []
        self.withdrawn: list[str] = []
        self.trouble: dict[str, Any] | None = None
        self.is_stuck = False
        self.is_deaf = False
        self.refuses = False
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.app = web.Application()
        self.app.add_routes(
            [
                web.get("/ws", self.ws),
                web.post("/prompt", self.prompt),
                web.get("/history/{id}", self.history),
                web.get("/view", self.view),
                web.post("/queue", self.withdraw),
                web.post("/interrupt", self.withdraw),
            ]
        )

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets[request.query["clientId"]] = socket
        async for _ in socket:
            pass
        return socket

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.is_deaf:
            return web.json_response({"error": {"type": "invalid_prompt"}}, status=400)
        self.prompts.append(body["prompt"])
        task = asyncio.create_task(self._work(self._sockets[body["client_id"]]))
        self._tasks.add(task)
        return web.json_response({"prompt_id": "p-1", "number": 1, "node_errors": {}})

    async def _work(self, socket: web.WebSocketResponse) -> None:
        await socket.send_json({"type": "progress", "data": {"value": 9, "max": 9, "prompt_id": "somebody-else"}})
        for step in (1, 2, 3):
            await socket.send_json({"type": "progress", "data": {"value": step, "max": 3, "prompt_id": "p-1"}})
            await socket.send_bytes(b"\0\0\0\x01\0\0\0\x02" + picture(16, 16))
        if self.trouble:
            await socket.send_json({"type": "execution_error", "data": self.trouble | {"prompt_id": "p-1"}})
        elif not self.is_stuck:
            await socket.send_json({"type": "execution_success", "data": {"prompt_id": "p-1"}})

    async def history(self, request: web.Request) -> web.Response:
        saved = [{"filename": "studio-worker_1.png", "subfolder": "", "type": "output"}]
        return web.json_response({"p-1": {"outputs": {"save": {"images": saved}}}})

    async def view(self, request: web.Request) -> web.Response:
        size = self.prompts[-1]["canvas"]["inputs"]
        return web.Response(body=picture(size["width"], size["height"]), content_type="image/png")

    async def withdraw(self, request: web.Request) -> web.Response:
        if self.refuses and request.transport is not None:
            request.transport.abort()
        self.withdrawn.append(request.path)
        return web.Response()


def picture(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(out, "PNG")
    return out.getvalue()


def talker() -> web.Application:
    """Says the same to everybody, whole or in pieces, with token counts."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", _answer)
    return app


async def _answer(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    usage = {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "Aye, aye.", "reasoning_content": "hm"}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        return web.json_response({"model": body["model"], "choices": [choice], "usage": usage})
    assert body["stream_options"] == {"include_usage": True}
    deltas = [{"role": "assistant"}, {"reasoning_content": "hm"}, {"content": "Aye"}, {"content": ", aye."}]
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    events.append({"choices": [], "usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(f"data: {json.dumps(event)}\n\n".encode())
    await response.write(b": a comment\n\ndata: [DONE]\n\n")
    return response
