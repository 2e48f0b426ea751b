"""A diffusion model, loaded once and kept between jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio_worker import EngineError, ModelFiles
from studio_worker_sdcpp.library import Context, backend
from studio_worker_sdcpp.parts import model_parts
from studio_worker_sdcpp.settings import Settings

_AT_RUNTIME = 2
"""LoRAs are added while computing; the other way changes the weights, and taking them out again leaves a trace."""

_CHOOSE = {"cuda": "CUDA_VISIBLE_DEVICES", "vulkan": "GGML_VK_VISIBLE_DEVICES"}


@dataclass(slots=True)
class Model:
    """What `load` makes and `run` paints with.

    Attributes:
        context: the library's own.
        loras: the claim's LoRA files by the names that a prompt may use.
        is_warm: whether it has served a job before.
    """

    context: Context
    loras: Mapping[str, Path]
    is_warm: bool = False


def load_model(model: ModelFiles, settings: Settings) -> Model:
    """Load the files of a claim.

    Raises:
        EngineError: a file is missing or no such model; or the device is not the one that the library was built for.
        OutOfMemory: the model does not fit.
    """
    parts = model_parts(model.files)
    check_device(model.options.device, backend())
    context = Context(
        parts.paths,
        n_threads=min(filter(None, (settings.threads, model.options.threads)), default=None),
        diffusion_flash_attn=settings.flash_attention,
        lora_apply_mode=_AT_RUNTIME,
        offload_params_to_cpu=model.options.offload_to_cpu,
        qwen_image_zero_cond_t=model.options.zero_cond_t,
        keep_vae_on_cpu=settings.vae_on_cpu,
        keep_clip_on_cpu=settings.text_encoder_on_cpu,
        enable_mmap=settings.mmap,
        max_vram=settings.max_vram_gb,
    )
    return Model(context, parts.loras)


def check_device(device: str | None, built_for: str) -> None:
    """Refuse a device that the library cannot use: it computes where it was built to, on the first such device.

    Args:
        device: ``cpu``, ``cuda:0`` … as the worker's settings have it; None for wherever.
        built_for: ``cuda``, ``vulkan``, ``metal`` or ``cpu``.

    Raises:
        EngineError: another worker may have it; the sentence says what to do here.
    """
    if not device:
        return
    kind, _, index = device.lower().partition(":")
    kind = {"mps": "metal"}.get(kind, kind)
    # The worker calls NVIDIA's GPUs by CUDA's name; Vulkan drives the same ones.
    if kind != built_for and (kind, built_for) != ("cuda", "vulkan"):
        raise EngineError(
            f"stable-diffusion.cpp is built for {built_for} here and cannot use the device {device}; "
            "build it for that, or leave `device` out of the worker's settings"
        )
    if index not in ("", "0"):
        raise EngineError(
            f"stable-diffusion.cpp uses the first device only: start the worker with {_CHOOSE.get(kind, 'device')}"
            f'={index} and device = "{kind}"'
        )
