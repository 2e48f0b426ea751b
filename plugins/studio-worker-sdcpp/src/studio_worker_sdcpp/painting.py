"""One picture: from a prompt alone, from a picture, into the white of a mask, or after a reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PIL import Image

from studio_worker import EngineJob, ImageResult, UnsupportedTask
from studio_worker_sdcpp.model import Model
from studio_worker_sdcpp.order import Order
from studio_worker_sdcpp.pictures import Canvas, check_size, encode_picture, fit, read_mask, read_picture
from studio_worker_sdcpp.prompt import take_loras
from studio_worker_sdcpp.settings import Settings
from studio_worker_sdcpp.watching import Watch

if TYPE_CHECKING:
    from studio_worker import ImageTask

STRENGTH = 0.75
"""`denoise` where a task has none, as in the older worker."""

CFG_SCALE = 1.0
"""`cfgScale` where neither task nor source has one, as in the older worker: no guidance."""

MAX_SEED = 2**63
"""The library takes signed seeds and draws its own for a negative one."""


def paint(job: EngineJob, task: ImageTask, settings: Settings, clock: Callable[[], float]) -> ImageResult:
    """The picture that a task asks for.

    Raises:
        BadInput: a picture that is none, or a LoRA that the claim does not bring.
        UnsupportedTask: the model makes no pictures, or the size does not go into the format.
    """
    model: Model = job.loaded
    if not model.context.makes_pictures:
        raise UnsupportedTask(f"the model {job.model} makes videos, not pictures")
    check_size(task.ext, task.width, task.height)
    prompt, loras = take_loras(task.prompt, model.loras)
    canvas = Canvas(task.width, task.height)
    start, mask, reference = _inputs(job, task)
    width, height = canvas.work_size
    order = Order(
        prompt=prompt,
        negative_prompt=task.negative_prompt or "",
        width=width,
        height=height,
        seed=job.seed % MAX_SEED,
        steps=task.steps,
        cfg_scale=task.cfg_scale or CFG_SCALE,
        sampler=task.sampling_method,
        flow_shift=job.options.flow_shift,
        loras=loras,
        vae_tiling=settings.vae_tiling,
        init=canvas.lay(start) if start is not None and reference is None else None,
        strength=STRENGTH if task.denoise is None else task.denoise,
        mask=canvas.lay(mask) if mask is not None and reference is None else None,
        reference=reference,
    )
    watch = Watch(job, order.steps, clock)
    job.check_cancelled()
    made = model.context.picture(
        order, on_step=watch.on_step, on_preview=watch.on_preview if settings.previews else None
    )
    job.check_cancelled()
    finished = canvas.cut(made)
    if start is not None and mask is not None:
        # The library gives back even what it left alone a little changed: it has been through the autoencoder.
        finished = Image.composite(finished, start, mask)
    job.meta |= {"warm": model.is_warm}
    model.is_warm = True
    job.meta |= {"steps": order.steps, "cfgScale": order.cfg_scale, "width": task.width, "height": task.height}
    if order.sampler is not None:
        job.meta["samplingMethod"] = order.sampler
    return ImageResult(encode_picture(finished, task.ext), task.ext)


def _inputs(job: EngineJob, task: ImageTask) -> tuple[Image.Image | None, Image.Image | None, Image.Image | None]:
    """The picture to start from and the mask, in the asked size, and the reference in its own."""
    start = mask = reference = None
    if "image" in job.inputs:
        start = fit(read_picture(job.inputs["image"], "task.initImageUrl"), task.width, task.height)
    if "mask" in job.inputs:
        mask = fit(read_mask(job.inputs["mask"], "task.maskUrl"), task.width, task.height)
    if "ref_image" in job.inputs:
        reference = read_picture(job.inputs["ref_image"], "task.refImageUrl")
    return start, mask, reference
