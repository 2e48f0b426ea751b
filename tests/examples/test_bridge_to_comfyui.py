"""The bridge to ComfyUI, against a stand-in on a real port."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image

from studio_worker import Config, EngineError, ImageTask, JobCancelled, UnsupportedTask, Worker
from studio_worker.wire.model_source import ModelSource

from .conftest import NOT_HERE, ROOT, free_port
from .stand_ins import ComfyUi, picture

sys.path.append(str(ROOT / "docs" / "examples" / "plugins" / "bridge" / "src"))
comfyui = import_module("studio_worker_bridge.comfyui")

SOURCE = ModelSource(engine="comfyui")
TASK = ImageTask(prompt="a clay cup", width=64, height=48, steps=3, seed=7, ext="png")


@pytest.fixture
async def stand_in() -> AsyncIterator[tuple[ComfyUi, str]]:
    made, port = ComfyUi(), free_port()
    runner = web.AppRunner(made.app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield made, f"http://127.0.0.1:{port}"
    await runner.cleanup()


@pytest.fixture
def server(stand_in: tuple[ComfyUi, str]) -> ComfyUi:
    return stand_in[0]


@pytest.fixture
async def worker(stand_in: tuple[ComfyUi, str], tmp_path: Path) -> AsyncIterator[Worker]:
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
