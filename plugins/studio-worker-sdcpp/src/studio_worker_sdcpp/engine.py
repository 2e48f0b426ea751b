"""The engine: a prompt goes in, a picture or a film comes out."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from studio_worker import (
    Available,
    Engine,
    EngineCapabilities,
    EngineJob,
    Estimate,
    ImageResult,
    ModelFiles,
    PluginConfig,
    TaskKind,
    Unavailable,
    UnsupportedTask,
    VideoResult,
    hookimpl,
)
from studio_worker_sdcpp.settings import Settings

if TYPE_CHECKING:
    from studio_worker_sdcpp.model import Model

WORKING_BYTES = 1_500_000_000
"""Memory beside the weights, for a picture of 1024 x 1024 with flash attention."""

_REMEDY = (
    "install a C++ compiler and CMake, then: pip install stable-diffusion-cpp-python==0.4.7; for a GPU set "
    "CMAKE_ARGS first: -DSD_CUDA=ON, -DSD_VULKAN=ON or -DSD_METAL=ON"
)


class SdCppEngine(Engine):
    """Paints with stable-diffusion.cpp, in the engine's own process; a model stays loaded from job to job.

    Args:
        settings: the operator's.
    """

    name = "sd-cpp"
    # GPUs add up in an order of their own, and what the library was built for shows when it is loaded, not before.
    deterministic = False

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()

    def capabilities(self) -> EngineCapabilities:
        """Any model that a claim brings."""
        return EngineCapabilities({TaskKind.IMAGE: ["sd-cpp:*"], TaskKind.VIDEO: ["sd-cpp:*"]})

    def availability(self) -> Available | Unavailable:
        """Whether stable-diffusion.cpp is installed."""
        if find_spec("stable_diffusion_cpp") is None:
            return Unavailable("the package stable-diffusion-cpp-python is not installed", _REMEDY)
        return Available()

    def estimate(self, model: ModelFiles) -> Estimate:
        """The files and what a picture takes; in RAM where the library was built for the CPU."""
        from studio_worker_sdcpp.library import backend

        weights = sum(path.stat().st_size for paths in model.files.values() for path in paths)
        if backend() == "cpu":
            return Estimate(ram_bytes=weights + WORKING_BYTES)
        if model.options.offload_to_cpu:
            return Estimate(ram_bytes=weights, vram_bytes=weights // 2 + WORKING_BYTES)
        return Estimate(ram_bytes=WORKING_BYTES // 3, vram_bytes=weights + WORKING_BYTES)

    def load(self, model: ModelFiles) -> Model:
        """Load the model.

        Raises:
            EngineError: the files are no such model, or the device is not here.
            OutOfMemory: it does not fit.
        """
        from studio_worker_sdcpp.model import load_model

        return load_model(model, self._settings)

    def unload(self, loaded: Model) -> None:
        """Free the model."""
        loaded.context.close()

    def run(self, job: EngineJob) -> ImageResult | VideoResult:
        """Paint what the task asks for.

        Raises:
            BadInput: a picture that is none, a LoRA that the claim does not bring, too long a film.
            UnsupportedTask: the model makes no such thing, or the format cannot be written here.
            OutOfMemory: the job does not fit.
            EngineError: the library failed.
        """
        from studio_worker import ImageTask, VideoTask
        from studio_worker_sdcpp.painting import paint
        from studio_worker_sdcpp.shooting import shoot

        if isinstance(job.task, ImageTask):
            return paint(job, job.task, self._settings, time.monotonic)
        if isinstance(job.task, VideoTask):
            return shoot(job, job.task, self._settings, time.monotonic)
        raise UnsupportedTask(f"sd-cpp serves image and video, not {job.task.kind}")


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """The engine, as ``[plugins.sdcpp]`` sets it; the keys are the fields of `Settings`."""
    return [SdCppEngine(Settings.from_table(config.plugin))]
