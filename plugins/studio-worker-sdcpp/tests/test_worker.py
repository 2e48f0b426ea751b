"""A worker with this engine, found as an installed plugin is: a child process, the true library, a file on disk."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from studio_worker import Config, ImageResult, ImageTask, ModelSource, Worker


async def test_a_worker_paints_twice_with_one_loaded_model(weights: Path, tmp_path: Path) -> None:
    files = [{"role": "model", "url": "https://files.example/sdxs.gguf", "filename": "sdxs.gguf"}]
    source = ModelSource.from_wire({"engine": "sd-cpp", "files": files, "cliDefaults": {"steps": 1}})
    settings = Config(
        api_base_url=None,
        state_dir=tmp_path / "state",
        models_root=weights,
        plugins={"sdcpp": {"threads": 1}},
    )
    task = ImageTask(prompt="a cup", width=64, height=64, seed=5, ext="png")
    pictures = []
    async with Worker(settings) as worker:
        for _ in range(2):
            job = worker.submit(task, model="sdxs", source=source)
            stages = [progress.stage async for progress in job]
            result = await job
            assert isinstance(result, ImageResult)
            assert isinstance(result.data, bytes)
            assert "sample" in stages
            pictures.append(result.data)
            artifact = await job.link.result
            assert artifact.meta["warm"] is (len(pictures) == 2)
    assert pictures[0] == pictures[1]
    assert Image.open(io.BytesIO(pictures[0])).size == (64, 64)
