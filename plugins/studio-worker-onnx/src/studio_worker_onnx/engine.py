"""The engine: a picture and a mask go in, the picture without what was marked comes out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from studio_worker import (
    Available,
    BadInput,
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
    hookimpl,
)
from studio_worker_onnx.providers import PROVIDERS

if TYPE_CHECKING:
    from studio_worker_onnx.model import Model

MEMORY_FACTOR = 4
"""What a loaded model takes, in sizes of its file: the weights twice while they are read and laid out for the machine,
and about as much again for what flows through a network of LaMa's shape (208 MB of weights, 512 x 512 pixels)."""

MAX_THREADS = 1_024


class OnnxEngine(Engine):
    """Removes objects with a graph of LaMa's kind: a picture and a mask in, the picture filled out.

    The model of a claim is one ``.onnx`` with the role ``model``. The picture keeps its size: a task's width, height,
    steps and prompt say nothing here.

    Args:
        providers: the only ones to use, by the names of `PROVIDERS`; None for what is installed.
        threads: the most CPU threads, within the share of the cores that the load options name; None for all of it.
    """

    name = "onnx"

    def __init__(self, *, providers: Sequence[str] | None = None, threads: int | None = None) -> None:
        self._providers = providers
        self._threads = threads
        # GPUs add up in an order of their own, and unless only the CPU may be used, the worker's device decides.
        self.deterministic = set(providers or ()) == {"cpu"}

    def capabilities(self) -> EngineCapabilities:
        """Any graph for object removal that a claim brings."""
        return EngineCapabilities({TaskKind.IMAGE: ["onnx:*"]})

    def availability(self) -> Available | Unavailable:
        """Whether ONNX Runtime is installed."""
        if find_spec("onnxruntime") is None:
            return Unavailable("the package onnxruntime is not installed", "pip install onnxruntime")
        return Available()

    def estimate(self, model: ModelFiles) -> Estimate:
        """`MEMORY_FACTOR` times the file, in the memory of the device that it will run on."""
        import onnxruntime

        from studio_worker_onnx.model import model_file
        from studio_worker_onnx.providers import choose

        size = model_file(model.files).stat().st_size
        chosen = choose(onnxruntime.get_available_providers(), wanted=self._providers, device=model.options.device)
        on_gpu = chosen[0][0] in (PROVIDERS["cuda"], PROVIDERS["directml"])
        if on_gpu:
            return Estimate(ram_bytes=size, vram_bytes=MEMORY_FACTOR * size)
        return Estimate(ram_bytes=MEMORY_FACTOR * size)

    def load(self, model: ModelFiles) -> Model:
        """Load the graph.

        Raises:
            EngineError: the file is refused, or is no graph for object removal.
            OutOfMemory: it does not fit.
        """
        from studio_worker_onnx.model import load_model

        return load_model(
            model,
            providers=self._providers,
            threads=min(filter(None, (self._threads, model.options.threads)), default=None),
            device=model.options.device,
        )

    def run(self, job: EngineJob) -> ImageResult:
        """Remove what `job.inputs["mask"]` marks from `job.inputs["image"]`.

        Raises:
            BadInput: one of them is missing, is no picture, or they differ in size.
            UnsupportedTask: a reference picture, or a format that cannot hold a picture of this size.
        """
        from studio_worker import ImageTask
        from studio_worker_onnx.picture import check_ext, read_mask, read_picture, write_picture
        from studio_worker_onnx.removal import remove

        task, model = job.task, job.loaded
        if not isinstance(task, ImageTask):
            raise UnsupportedTask(f"onnx serves image tasks, not {task.kind}")
        if task.ref_image_url is not None:
            raise UnsupportedTask("task.refImageUrl: object removal takes a picture and a mask, and no reference")
        image = _input(job, "image", "task.initImageUrl: object removal needs the picture to remove something from")
        mask = _input(job, "mask", "task.maskUrl: object removal needs a mask, white where to repaint")
        job.progress(0, 4, stage="load")
        picture = read_picture(image, "task.initImageUrl")
        check_ext(task.ext, picture.size)
        marks = read_mask(mask, "task.maskUrl")
        width, height = picture.size
        if marks.shape != (height, width):
            raise BadInput(
                f"task.maskUrl: the mask has {marks.shape[1]} x {marks.shape[0]} pixels, the picture "
                f"{width} x {height}; they must be equal"
            )
        job.meta |= {"provider": model.provider, "width": width, "height": height}
        made = remove(picture, marks, model, job)
        job.check_cancelled()
        path = write_picture(made, task.ext, job.work_dir)
        job.progress(4, 4, stage="paste")
        return ImageResult(path, task.ext)


def _input(job: EngineJob, role: str, missing: str) -> Path:
    path = job.inputs.get(role)
    if path is None:
        raise BadInput(missing)
    return path


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """The engine, as ``[plugins.onnx]`` sets it: `providers` and `threads`."""
    providers = config.plugin.get("providers")
    if providers is not None and (
        not isinstance(providers, list)
        or not providers
        or not all(isinstance(name, str) and name in PROVIDERS for name in providers)
    ):
        raise ValueError(f"plugins.onnx.providers must be a list of {', '.join(PROVIDERS)}, not {providers!r}")
    threads = config.plugin.get("threads")
    if threads is not None and (
        isinstance(threads, bool) or not isinstance(threads, int) or not 0 < threads <= MAX_THREADS
    ):
        raise ValueError(f"plugins.onnx.threads must be a whole number from 1 to {MAX_THREADS}, not {threads!r}")
    return [OnnxEngine(providers=providers, threads=threads)]
