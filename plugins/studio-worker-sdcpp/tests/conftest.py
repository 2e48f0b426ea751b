"""A checkpoint that is written once for all test processes, a model loaded from it, and jobs for it."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from loguru import logger
from PIL import Image
from sdxs_checkpoint import write_checkpoint, write_lora
from studio_worker_sdcpp import SdCppEngine

from studio_worker import EngineJob, ImageTask, LoadOptions, ModelFiles

sd = pytest.importorskip("stable_diffusion_cpp", reason="needs pip install stable-diffusion-cpp-python==0.4.7")

MakeJob = Callable[..., EngineJob]


@pytest.fixture(scope="session")
def weights(pytestconfig: pytest.Config) -> Path:
    """A folder with ``sdxs.gguf`` and ``twist.gguf``, kept between runs."""
    folder = Path(pytestconfig.cache.mkdir("studio-worker-sdcpp"))
    with FileLock(folder / "lock"):
        for name, write in (("sdxs.gguf", write_checkpoint), ("twist.gguf", write_lora)):
            if not (folder / name).exists():
                write(folder / "part")
                (folder / "part").rename(folder / name)
    return folder


@pytest.fixture(scope="session")
def model(weights: Path) -> ModelFiles:
    files = {"model": [weights / "sdxs.gguf"], "lora": [weights / "twist.gguf"]}
    # One thread: the library's threads wait by spinning, which is slow where others want the cores too.
    return ModelFiles(id="sdxs", files=files, options=LoadOptions(threads=1), dir=weights)


@pytest.fixture(scope="session")
def engine() -> SdCppEngine:
    return SdCppEngine()


@pytest.fixture(scope="session")
def loaded(engine: SdCppEngine, model: ModelFiles) -> Iterator[Any]:
    """The model, loaded once for all tests."""
    loaded = engine.load(model)
    yield loaded
    engine.unload(loaded)


@pytest.fixture
def job(loaded: Any, tmp_path: Path) -> MakeJob:
    """Makes a job of the fields of an image task; `task`, `inputs`, `seed` and others may be given."""

    def make(*, task: Any = None, seed: int = 1, on_progress: Any = None, **given: Any) -> EngineJob:
        own = {name: given.pop(name) for name in ("inputs", "options", "source", "loaded") if name in given}
        fields = {"prompt": "a clay cup", "width": 64, "height": 64, "steps": 1, "ext": "png", **given}
        return EngineJob(
            id="job-1",
            model="sdxs",
            task=task or ImageTask(**fields),
            seed=seed,
            work_dir=tmp_path,
            log=logger,
            **{"loaded": loaded, **own},
            **({} if on_progress is None else {"_on_progress": on_progress}),
        )

    return make


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture as an input file without an ending."""

    def save(picture: Image.Image, name: str = "input", format_: str = "PNG", **options: Any) -> Path:
        picture.save(tmp_path / name, format_, **options)
        return tmp_path / name

    return save


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the C library is asked for, in place of its work: it answers with grey of the size that it was asked for."""
    calls: list[SimpleNamespace] = []
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]

    def answer(params: Any, count: int) -> Any:
        images = ctypes.cast(libc.malloc(count * ctypes.sizeof(sd.sd_image_t)), ctypes.POINTER(sd.sd_image_t))
        size = params.width * params.height * 3
        for number in range(count):
            pixels = libc.malloc(size)
            ctypes.memset(pixels, 60 + number, size)
            data = ctypes.cast(pixels, ctypes.POINTER(ctypes.c_uint8))
            images[number] = sd.sd_image_t(params.width, params.height, 3, data)
        return images

    def picture(_: Any, reference: Any) -> Any:
        params = reference._obj
        calls.append(SimpleNamespace(**told(params), mask=lent(params.mask_image)))
        calls[-1].references = [lent(params.ref_images[number]) for number in range(params.ref_images_count)]
        return answer(params, 1)

    def film(_: Any, reference: Any, count: Any) -> Any:
        params = reference._obj
        calls.append(SimpleNamespace(**told(params), frames=params.video_frames))
        count._obj.value = params.video_frames
        return answer(params, params.video_frames)

    monkeypatch.setattr(sd, "generate_image", picture)
    monkeypatch.setattr(sd, "generate_video", film)
    return calls


def told(params: Any) -> dict[str, Any]:
    """What pictures and films have in common, copied while it is there."""
    sampling = params.sample_params
    return {
        "prompt": params.prompt.decode(),
        "negative_prompt": params.negative_prompt.decode(),
        "size": (params.width, params.height),
        "seed": params.seed,
        "strength": params.strength,
        "steps": sampling.sample_steps,
        "cfg_scale": sampling.guidance.txt_cfg,
        "sampler": sampling.sample_method,
        "flow_shift": sampling.flow_shift,
        "tiling": params.vae_tiling_params.enabled,
        "init": lent(params.init_image),
        "loras": [
            (Path(lora.path.decode()).name, round(lora.multiplier, 3), lora.is_high_noise)
            for lora in (params.loras[number] for number in range(params.lora_count))
        ],
    }


def lent(image: Any) -> Image.Image | None:
    """An ``sd_image_t`` as a picture, None where it holds none."""
    if not image.data:
        return None
    mode = {1: "L", 3: "RGB"}[image.channel]
    return Image.frombytes(
        mode, (image.width, image.height), ctypes.string_at(image.data, image.width * image.height * image.channel)
    )


def decoded(data: bytes) -> Image.Image:
    """An encoded picture, decoded."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture
