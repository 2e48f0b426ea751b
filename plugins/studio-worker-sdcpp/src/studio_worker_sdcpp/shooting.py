"""One film: frames from the library, cut to the length that was asked for, encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from studio_worker import BadInput, EngineJob, UnsupportedTask, VideoResult
from studio_worker_sdcpp.film import check_film, encode_film
from studio_worker_sdcpp.model import Model
from studio_worker_sdcpp.order import Order
from studio_worker_sdcpp.painting import MAX_SEED
from studio_worker_sdcpp.pictures import Canvas, check_size, fit, read_picture
from studio_worker_sdcpp.prompt import take_loras
from studio_worker_sdcpp.settings import Settings
from studio_worker_sdcpp.watching import Watch

if TYPE_CHECKING:
    from studio_worker import VideoTask

FPS = 16
"""Frames a second where a task has none: what Wan's models were made for."""

STEPS = 20
CFG_SCALE = 6.0
"""What Wan's own examples use; a source's `cliDefaults` come first."""


def shoot(job: EngineJob, task: VideoTask, settings: Settings, clock: Callable[[], float]) -> VideoResult:
    """The film that a task asks for.

    Raises:
        BadInput: too many frames, a picture that is none, a LoRA that the claim does not bring.
        UnsupportedTask: the model makes no films, or the format cannot be written here.
    """
    model: Model = job.loaded
    if not model.context.makes_films:
        raise UnsupportedTask(f"the model {job.model} makes pictures, not videos")
    check_film(task.ext)
    check_size(task.ext, task.width, task.height)
    fps = task.fps or FPS
    count = max(1, round(task.seconds * fps))
    if count > settings.max_frames:
        raise BadInput(
            f"task.seconds: {task.seconds:g} seconds of {fps} frames are {count} frames, at most "
            f"{settings.max_frames} are made here"
        )
    prompt, loras = take_loras(task.prompt, model.loras)
    canvas = Canvas(task.width, task.height)
    start = None
    if "image" in job.inputs:
        start = canvas.lay(fit(read_picture(job.inputs["image"], "task.initImageUrl"), task.width, task.height))
    width, height = canvas.work_size
    defaults = job.source.cli_defaults if job.source is not None else None
    order = Order(
        prompt=prompt,
        negative_prompt=task.negative_prompt or "",
        width=width,
        height=height,
        seed=job.seed % MAX_SEED,
        steps=(defaults and defaults.steps) or STEPS,
        cfg_scale=(defaults and defaults.cfg_scale) or CFG_SCALE,
        sampler=(defaults and defaults.sampling_method) or None,
        flow_shift=job.options.flow_shift,
        loras=loras,
        vae_tiling=settings.vae_tiling,
        init=start,
        frames=whole_blocks(count),
    )
    watch = Watch(job, order.steps, clock)
    job.check_cancelled()
    frames = model.context.film(
        order, on_step=watch.on_step, on_preview=watch.on_preview if settings.previews else None
    )[:count]
    job.check_cancelled()
    job.progress(order.steps, order.steps, stage="encode")
    target = job.work_dir / f"film.{task.ext}"
    encode_film([canvas.cut(frame) for frame in frames], target, task.ext, fps, check_cancelled=job.check_cancelled)
    job.meta |= {"warm": model.is_warm}
    model.is_warm = True
    job.meta |= {"steps": order.steps, "cfgScale": order.cfg_scale, "frames": len(frames), "fps": fps}
    return VideoResult(target, task.ext)


def whole_blocks(frames: int) -> int:
    """The next number of frames that Wan's autoencoder knows: one, and four for each further block."""
    return -(-(frames - 1) // 4) * 4 + 1
