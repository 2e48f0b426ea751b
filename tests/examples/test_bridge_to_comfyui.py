"""The bridge to ComfyUI, against a stand-in on a real port that speaks the routes of ComfyUI which the bridge uses.

ComfyUI itself needs PyTorch, several gigabytes, and is not run here.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from studio_worker import Config, EngineError, ImageTask, JobCancelled, UnsupportedTask, Worker
from studio_worker.wire.model_source import ModelSource

from .conftest import NOT_HERE, ROOT, free_port

sys.path.append(str(ROOT / "docs" / "examples" / "plugins" / "bridge" / "src"))
comfyui = import_module("studio_worker_bridge.comfyui")

SOURCE = ModelSource(engine="comfyui")
TASK = ImageTask(prompt="a clay cup", width=64, height=48, steps=3, seed=7, ext="png")


class StandIn:
    """Queues a prompt, tells its steps over the socket, and has a picture of the size that was asked for."""

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


@pytest.fixture
async def stand_in() -> AsyncIterator[tuple[StandIn, str]]:
    made, port = StandIn(), free_port()
    runner = web.AppRunner(made.app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
def server(stand_in: tuple[StandIn, str]) -> StandIn:
    return stand_in[0]


@pytest.fixture
async def worker(stand_in: tuple[StandIn, str], tmp_path: Path) -> AsyncIterator[Worker]:
    config = Config(api_base_url=None, state_dir=tmp_path, local_api_port=0, disabled_engines=NOT_HERE)
    async with Worker(config, engines=[comfyui.ComfyUiEngine({"comfyui_url": stand_in[1]})]) as running:
        yield running


async def test_a_workflow_gets_the_tasks_values_and_its_picture_comes_back(worker, server):
    result = await worker.submit(TASK, model="dream.safetensors", source=SOURCE)
    assert Image.open(io.BytesIO(result.data)).size == (64, 48)
    [workflow] = server.prompts
    assert workflow["prompt"]["inputs"]["text"] == "a clay cup"
    assert workflow["checkpoint"]["inputs"]["ckpt_name"] == "dream.safetensors"
    assert (workflow["sampler"]["inputs"]["seed"], workflow["sampler"]["inputs"]["steps"]) == (7, 3)


async def test_progress_and_previews_are_passed_on(worker):
    job = worker.submit(TASK, model="dream.safetensors", source=SOURCE)
    told = [progress async for progress in job]
    await job
    assert (told[-1].step, told[-1].total) == (3, 3)


@pytest.mark.parametrize(("ext", "format"), [("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG")])
async def test_the_picture_comes_in_the_format_that_was_asked_for(worker, ext, format):
    result = await worker.submit(TASK.model_copy(update={"ext": ext}), model="dream.safetensors", source=SOURCE)
    assert Image.open(io.BytesIO(result.data)).format == format


async def test_a_node_that_fails_is_named(worker, server):
    server.trouble = {"node_type": "KSampler", "exception_message": "out of memory"}
    with pytest.raises(EngineError, match="node KSampler failed: out of memory"):
        await worker.submit(TASK, model="dream.safetensors", source=SOURCE)


async def test_a_workflow_that_the_server_refuses_is_not_tried_again(worker, server):
    server.is_deaf = True
    with pytest.raises(Exception, match="invalid_prompt") as caught:
        await worker.submit(TASK, model="dream.safetensors", source=SOURCE)
    assert not caught.value.retryable


async def test_a_cancelled_job_is_taken_off_the_servers_queue(worker, server):
    server.is_stuck = True
    job = worker.submit(TASK, model="dream.safetensors", source=SOURCE)
    async for progress in job:
        if progress.step == 3:
            break
    job.cancel()
    with pytest.raises(JobCancelled):
        await job
    async with asyncio.timeout(20):
        while server.withdrawn != ["/queue", "/interrupt"]:
            await asyncio.sleep(0.01)


async def test_a_cancelled_job_is_cancelled_also_where_the_server_has_gone(worker, server, stand_in):
    server.is_stuck = True
    server.refuses = True
    job = worker.submit(TASK, model="dream.safetensors", source=SOURCE)
    async for progress in job:
        if progress.step == 3:
            break
    job.cancel()
    with pytest.raises(JobCancelled):
        await job


async def test_a_job_with_a_picture_of_its_own_is_refused(worker, tmp_path):
    (tmp_path / "cup.png").write_bytes(picture(64, 48))
    task = TASK.model_copy(update={"init_image_url": "file"})
    with pytest.raises(UnsupportedTask, match="from text alone"):
        await worker.submit(task, model="dream", source=SOURCE, inputs={"image": tmp_path / "cup.png"})


def test_only_a_text_that_is_a_place_and_nothing_else_is_replaced():
    found = {"prompt": "a {seed} in braces", "seed": 7}
    template = {"a": ["{prompt}", "{seed}"], "b": "the {seed} of it", "c": "{unknown}", "d": 1}
    assert comfyui.filled(template, found) == {
        "a": ["a {seed} in braces", 7],
        "b": "the {seed} of it",
        "c": "{unknown}",
        "d": 1,
    }


def test_a_workflow_that_is_not_there_is_said_with_the_remedy(tmp_path):
    engine = comfyui.ComfyUiEngine({"comfyui_url": "http://127.0.0.1:1", "comfyui_workflow": str(tmp_path / "no.json")})
    assert "no.json" in engine.availability().reason
    assert "Export (API)" in engine.availability().remedy
