"""The way of a job through a worker of one's own, from data URLs to a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from studio_worker import BadInput, Config, EngineError, ImageTask, JobCancelled, ModelSource, Worker


def data_url(picture: Image.Image) -> str:
    held = io.BytesIO()
    picture.save(held, "PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()


def source(name: str = "lama.onnx") -> ModelSource:
    return ModelSource(
        engine="onnx", files=[{"role": "model", "url": f"https://models.example/{name}", "filename": name}]
    )


@pytest_asyncio.fixture
async def worker(make_graph: Callable[..., Path], tmp_path: Path) -> AsyncIterator[Worker]:
    (tmp_path / "models").mkdir()
    graph = make_graph(out_scale=255.0)
    (tmp_path / "models" / "lama.onnx").write_bytes(graph.read_bytes())
    config = Config(api_base_url=None, state_dir=tmp_path / "state", models_root=tmp_path / "models", local_api_port=0)
    async with Worker(config, engines=["studio_worker_onnx:OnnxEngine"]) as worker:
        yield worker


async def test_an_object_is_removed_through_a_worker(worker: Worker, noise: Any, marked: Any) -> None:
    base = noise(300, 200)
    task = ImageTask(
        prompt="a garden",
        init_image_url=data_url(base),
        mask_url=data_url(marked(300, 200, 100, 80, 160, 120)),
        ext="webp",
    )
    result = await worker.submit(task, model="lama", source=source())
    assert result.ext == "webp"
    before, after = np.asarray(base), np.asarray(Image.open(io.BytesIO(result.data)))
    inside = np.zeros((200, 300), bool)
    inside[80:120, 100:160] = True
    assert (after[~inside] == before[~inside]).all()
    assert (after[86:114, 106:154] == (51, 153, 204)).all()


async def test_a_mask_of_another_size_ends_the_job_for_good(worker: Worker, noise: Any, marked: Any) -> None:
    task = ImageTask(
        prompt="x", init_image_url=data_url(noise(30, 20)), mask_url=data_url(marked(20, 30, 1, 1, 9, 9)), ext="png"
    )
    with pytest.raises(BadInput, match=r"20 x 30.*30 x 20"):
        await worker.submit(task, model="lama", source=source())


async def test_a_task_without_a_picture_ends_by_the_name_of_its_field(worker: Worker) -> None:
    with pytest.raises(BadInput, match=r"task\.initImageUrl"):
        await worker.submit(ImageTask(prompt="x"), model="lama", source=source())


async def test_a_file_that_is_no_model_ends_the_job_for_good(
    worker: Worker, noise: Any, marked: Any, tmp_path: Path
) -> None:
    (tmp_path / "models" / "page.onnx").write_text("<html>Please sign in</html>")
    task = ImageTask(prompt="x", init_image_url=data_url(noise(30, 20)), mask_url=data_url(marked(30, 20, 1, 1, 9, 9)))
    with pytest.raises(EngineError, match=r"page\.onnx is no sound ONNX file") as error:
        await worker.submit(task, model="lama", source=source("page.onnx"))
    assert not error.value.retryable


async def test_cancelling_a_job_ends_its_running_graph(
    worker: Worker, noise: Any, marked: Any, endless_graph: Callable[..., Path], tmp_path: Path
) -> None:
    endless_graph(tmp_path / "models" / "endless.onnx")
    picture, mask = data_url(noise(64, 64)), data_url(marked(64, 64, 9, 9, 20, 20))
    job = worker.submit(
        ImageTask(prompt="x", init_image_url=picture, mask_url=mask), model="slow", source=source("endless.onnx")
    )
    async for progress in job:
        if progress.stage == "inpaint":
            job.cancel("enough")
    with pytest.raises(JobCancelled):
        await job
    # There is one thread for this engine: a graph that went on would hold the next job for ever.
    after = ImageTask(prompt="x", init_image_url=picture, mask_url=mask, ext="png")
    assert (await worker.submit(after, model="lama", source=source())).ext == "png"
