"""A job on the warm model against the library's own class: what the plugin adds, and what loading once saves."""

import os
import statistics
import time
from pathlib import Path

import pytest
from filelock import FileLock
from loguru import logger

from studio_worker import EngineJob, ImageTask, LoadOptions, ModelFiles

sd = pytest.importorskip("stable_diffusion_cpp", reason="needs pip install stable-diffusion-cpp-python==0.4.7")

LIMIT = 1.05
ROUNDS = 7
SIDE = 64
STEPS = 2
THREADS = max(1, (os.cpu_count() or 2) // 2)


@pytest.fixture
def checkpoint(pytestconfig):
    from sdxs_checkpoint import write_checkpoint

    folder = Path(pytestconfig.cache.mkdir("studio-worker-sdcpp"))
    with FileLock(folder / "lock"):
        if not (folder / "sdxs.gguf").exists():
            write_checkpoint(folder / "part")
            (folder / "part").rename(folder / "sdxs.gguf")
    return folder / "sdxs.gguf"


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_a_job_on_the_warm_model_costs_what_the_library_costs(checkpoint, tmp_path, report):
    from studio_worker_sdcpp import SdCppEngine

    engine = SdCppEngine()
    model = ModelFiles(id="sdxs", files={"model": [checkpoint]}, options=LoadOptions(threads=THREADS))

    def run(loaded):
        task = ImageTask(prompt="a clay cup", width=SIDE, height=SIDE, steps=STEPS, ext="png")
        engine.run(EngineJob(id="j", model="sdxs", task=task, seed=1, work_dir=tmp_path, log=logger, loaded=loaded))

    def cold():
        loaded = engine.load(model)
        run(loaded)
        engine.unload(loaded)

    direct = sd.StableDiffusion(
        model_path=str(checkpoint),
        n_threads=THREADS,
        diffusion_flash_attn=True,
        lora_apply_mode="at_runtime",
        verbose=False,
    )

    def ask_directly():
        direct.generate_image(
            prompt="a clay cup",
            width=SIDE,
            height=SIDE,
            sample_steps=STEPS,
            cfg_scale=1.0,
            seed=1,
            progress_callback=lambda *_: None,
        )[0].save(tmp_path / "direct.png")

    colds = [timed(cold) for _ in range(3)]
    loaded = engine.load(model)
    run(loaded)
    ask_directly()
    warm, floor = [], []
    for _ in range(ROUNDS):
        floor.append(timed(ask_directly))
        warm.append(timed(lambda: run(loaded)))
    engine.unload(loaded)
    ratio = statistics.median(warm) / statistics.median(floor)
    report(
        f"sd-cpp: {ratio:.3f}x the library's own call ({1000 * statistics.median(warm):.0f} ms against "
        f"{1000 * statistics.median(floor):.0f} ms, limit {LIMIT}x); "
        f"with loading {1000 * statistics.median(colds):.0f} ms"
    )
    assert ratio <= LIMIT
