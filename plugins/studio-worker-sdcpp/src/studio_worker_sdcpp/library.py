"""stable-diffusion.cpp's C interface, as far as it is used here.

The C functions are called themselves, for four reasons: the package's own class crashes where a model cannot be loaded,
never frees a picture (3 MB for each of 1024 x 1024), copies pixels one Python number at a time, and looks up LoRA
files by whatever path a prompt holds.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stable_diffusion_cpp as sd
from PIL import Image
from stable_diffusion_cpp.stable_diffusion_cpp import _lib

from studio_worker import UnsupportedTask
from studio_worker_sdcpp.listening import Ears, OnPreview, OnStep, failure, listening, picture
from studio_worker_sdcpp.order import Order

_BACKENDS = {"cuda": "ggml_backend_cuda_init", "vulkan": "ggml_backend_vk_init", "metal": "ggml_backend_metal_init"}
_C = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)


def backend() -> str:
    """What the library was built for: ``cuda``, ``vulkan``, ``metal`` or ``cpu``."""
    return next((name for name, symbol in _BACKENDS.items() if hasattr(_lib, symbol)), "cpu")


class Context:
    """A loaded model.

    Args:
        parts: the library's name of a part, without ``_path``, to its file.
        switches: other fields of ``sd_ctx_params_t``; None leaves the library's default.

    Raises:
        EngineError: the files are no model that the library knows; never retried.
        OutOfMemory: the model does not fit.
    """

    def __init__(self, parts: Mapping[str, Path], **switches: Any) -> None:
        params = sd.sd_ctx_params_t()
        _init_context(ctypes.byref(params))
        # Weights stay for the next job, and the autoencoder's first half is there for pictures to start from.
        params.vae_decode_only = params.free_params_immediately = False
        for part, path in parts.items():
            setattr(params, f"{part}_path", os.fsencode(path))
        for name, value in switches.items():
            if value is not None:
                setattr(params, name, value)
        with listening() as ears:
            self._pointer = sd.new_sd_ctx(ctypes.byref(params))
        missed = [line for line in ears.warnings if line.startswith("loading ") and line.endswith(" failed")]
        if not self._pointer or missed:
            self.close()
            raise failure("the model could not be loaded", ears.errors or missed, parts.values(), retryable=False)

    @property
    def makes_pictures(self) -> bool:
        """Whether the model makes pictures."""
        return bool(sd.sd_ctx_supports_image_generation(self._pointer))

    @property
    def makes_films(self) -> bool:
        """Whether the model makes films."""
        return bool(sd.sd_ctx_supports_video_generation(self._pointer))

    def picture(
        self, order: Order, *, on_step: OnStep | None = None, on_preview: OnPreview | None = None
    ) -> Image.Image:
        """An RGB picture of the order's size.

        Args:
            order: what to paint.
            on_step: told of each step done, and of all; may raise, which ends the call once the library is done.
            on_preview: given a small RGB picture after each step.

        Raises:
            EngineError: the library failed.
            OutOfMemory: the job did not fit.
            UnsupportedTask: the library does not know the sampler.
        """
        params, kept = sd.sd_img_gen_params_t(), _common(order)
        _init_picture(ctypes.byref(params))
        _fill(params, order, kept)
        if order.mask is not None:
            params.mask_image = kept.lend(order.mask)
        if order.reference is not None:
            params.ref_images = (sd.sd_image_t * 1)(kept.lend(order.reference))
            params.ref_images_count = 1
            params.auto_resize_ref_image = True
        with listening(on_step, on_preview) as ears:
            made = sd.generate_image(self._pointer, ctypes.byref(params))
            pictures = _taken(made, 1)
        return _checked(pictures, ears, order)[0]

    def film(
        self, order: Order, *, on_step: OnStep | None = None, on_preview: OnPreview | None = None
    ) -> list[Image.Image]:
        """The frames of a film; arguments and errors as of `picture`."""
        params, kept = sd.sd_vid_gen_params_t(), _common(order)
        _init_film(ctypes.byref(params))
        _fill(params, order, kept)
        params.video_frames = order.frames
        count = ctypes.c_int(0)
        _sampling(params.high_noise_sample_params, order, kept.method)
        params.high_noise_sample_params.sample_steps = -1
        with listening(on_step, on_preview) as ears:
            made = sd.generate_video(self._pointer, ctypes.byref(params), ctypes.byref(count))
            frames = _taken(made, count.value)
        return _checked(frames, ears, order)

    def close(self) -> None:
        """Free the model."""
        if self._pointer:
            with listening():
                sd.free_sd_ctx(self._pointer)
        self._pointer = None


class _Kept:
    """What must live as long as a call of the library that was lent it."""

    def __init__(self, method: int | None) -> None:
        self.method = method
        self._buffers: list[Any] = []

    def lend(self, picture: Image.Image) -> Any:
        """A picture as the library takes it."""
        pixels = picture.tobytes()
        buffer = ctypes.create_string_buffer(pixels, len(pixels))
        self._buffers.append(buffer)
        data = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint8))
        return sd.sd_image_t(picture.width, picture.height, len(picture.getbands()), data)


def _common(order: Order) -> _Kept:
    if order.sampler is None:
        return _Kept(None)
    method = int(_sample_method(order.sampler.encode()))
    if method == sd.SampleMethod.SAMPLE_METHOD_COUNT:
        raise UnsupportedTask(f"task.samplingMethod: this stable-diffusion.cpp has no sampler {order.sampler}")
    return _Kept(method)


def _fill(params: Any, order: Order, kept: _Kept) -> None:
    """What pictures and films have in common."""
    params.prompt = order.prompt.replace("\0", " ").encode()
    params.negative_prompt = order.negative_prompt.replace("\0", " ").encode()
    params.width, params.height = order.width, order.height
    params.seed = order.seed
    params.strength = order.strength
    params.vae_tiling_params.enabled = order.vae_tiling
    _sampling(params.sample_params, order, kept.method)
    if order.loras:
        loras = [sd.sd_lora_t(lora.is_high_noise, lora.weight, os.fsencode(lora.path)) for lora in order.loras]
        params.loras = (sd.sd_lora_t * len(loras))(*loras)
        params.lora_count = len(loras)
    if order.init is not None:
        params.init_image = kept.lend(order.init)


def _sampling(params: Any, order: Order, method: int | None) -> None:
    params.sample_steps = order.steps
    params.guidance.txt_cfg = order.cfg_scale
    if method is not None:
        params.sample_method = method
    if order.flow_shift is not None:
        params.flow_shift = order.flow_shift


def _taken(made: Any, count: int) -> list[Image.Image]:
    """The library's pictures as ours; its own memory is given back. Empty where it made none."""
    if not made:
        return []
    pictures = [picture(made[number]) for number in range(count) if made[number].data]
    for number in range(count):
        _free(ctypes.cast(made[number].data, ctypes.c_void_p))
    _free(ctypes.cast(made, ctypes.c_void_p))
    return pictures


def _checked(pictures: list[Image.Image], ears: Ears, order: Order) -> list[Image.Image]:
    paths = [lora.path for lora in order.loras]
    if not pictures:
        raise failure("stable-diffusion.cpp made nothing", ears.errors, paths, retryable=True)
    if any("lora" in line.lower() for line in ears.errors):
        raise failure("a LoRA could not be used", ears.errors, paths, retryable=False)
    return pictures


def _declared(name: str, arguments: list[Any], result: Any = None) -> Any:
    """A function that the library has and its binding leaves out."""
    function = getattr(_lib, name)
    function.argtypes, function.restype = arguments, result
    return function


_init_context = _declared("sd_ctx_params_init", [ctypes.POINTER(sd.sd_ctx_params_t)])
_init_picture = _declared("sd_img_gen_params_init", [ctypes.POINTER(sd.sd_img_gen_params_t)])
_init_film = _declared("sd_vid_gen_params_init", [ctypes.POINTER(sd.sd_vid_gen_params_t)])
_sample_method = _declared("str_to_sample_method", [ctypes.c_char_p], ctypes.c_int)
_free = _C.free
_free.argtypes, _free.restype = [ctypes.c_void_p], None
