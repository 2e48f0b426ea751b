"""The true library on a true checkpoint, with random weights."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from studio_worker_sdcpp import SdCppEngine, studio_worker_engines
from studio_worker_sdcpp.library import Context, backend
from studio_worker_sdcpp.model import check_device
from studio_worker_sdcpp.order import Order
from studio_worker_sdcpp.prompt import Lora

from studio_worker import (
    BadInput,
    Cancelled,
    EngineError,
    ImageResult,
    LoadOptions,
    ModelFiles,
    SttTask,
    TaskKind,
    UnsupportedTask,
    VideoTask,
)
from studio_worker.engines.base import Available, PluginConfig

ORDER = Order(prompt="a cup", width=64, height=64, seed=1, steps=1, cfg_scale=1.0)


@pytest.fixture(scope="module")
def plain(engine: SdCppEngine, loaded: Any, tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    """What the library paints for `ORDER`."""
    picture: Image.Image = loaded.context.picture(ORDER)
    return picture


def picture_of(result: Any) -> Image.Image:
    assert isinstance(result, ImageResult)
    return Image.open(io.BytesIO(result.data)).convert("RGB")  # type: ignore[arg-type]  # bytes here


def gradient() -> Image.Image:
    return Image.linear_gradient("L").resize((64, 64)).convert("RGB")


def test_the_plugin_is_found_under_its_name_and_serves_its_source() -> None:
    found = entry_points(group="studio_worker", name="sdcpp")
    assert [point.value for point in found] == ["studio_worker_sdcpp"]
    (engine,) = studio_worker_engines(PluginConfig())
    assert (engine.name, engine.isolation) == ("sd-cpp", "process")
    assert dict(engine.capabilities().models) == {TaskKind.IMAGE: ("sd-cpp:*",), TaskKind.VIDEO: ("sd-cpp:*",)}
    assert engine.availability() == Available()


def test_an_engine_that_may_be_built_for_a_gpu_does_not_promise_the_same_bytes() -> None:
    assert not SdCppEngine().deterministic


def test_describing_the_engine_imports_no_heavy_library() -> None:
    code = (
        "import sys; from studio_worker_sdcpp import SdCppEngine; e = SdCppEngine(); e.capabilities(); "
        "e.availability(); print([n for n in ('numpy', 'PIL', 'av', 'stable_diffusion_cpp', 'pydantic') "
        "if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_missing_library_makes_the_engine_unavailable_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_sdcpp.engine.find_spec", lambda name: None)
    remedy = getattr(SdCppEngine().availability(), "remedy", "")
    for word in ("compiler", "CMake", "pip install stable-diffusion-cpp-python", "CMAKE_ARGS", "-DSD_CUDA=ON"):
        assert word in remedy


def test_the_version_that_the_remedy_names_is_the_one_that_the_package_asks_for() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    remedy = SdCppEngine.availability.__globals__["_REMEDY"]
    assert "stable-diffusion-cpp-python==0.4.7" in project
    assert "stable-diffusion-cpp-python==0.4.7" in remedy


def test_a_prompt_becomes_the_same_picture_each_time_with_progress_and_previews(
    engine: SdCppEngine, job: Any, loaded: Any
) -> None:
    seen: list[tuple[int, int, str, bytes | None]] = []
    loaded.is_warm = False
    first = job(steps=2, on_progress=lambda *step: seen.append(step))
    result = engine.run(first)
    assert picture_of(result).size == (64, 64)
    assert [step[:3] for step in seen] == [(0, 2, "sample"), (1, 2, "sample"), (2, 2, "sample")]
    shown = [preview for *_, preview in seen if preview is not None]
    assert shown
    assert Image.open(io.BytesIO(shown[0])).size == (8, 8)
    assert first.meta == {"warm": False, "steps": 2, "cfgScale": 1.0, "width": 64, "height": 64}
    again = job(steps=2)
    assert engine.run(again).data == result.data
    assert again.meta["warm"] is True


def test_another_seed_paints_another_picture_and_the_next_job_is_untouched_by_it(
    loaded: Any, plain: Image.Image
) -> None:
    other = loaded.context.picture(replace(ORDER, seed=2**62 + 1))
    assert other.tobytes() != plain.tobytes()
    assert loaded.context.picture(ORDER).tobytes() == plain.tobytes()


def test_a_picture_to_start_from_is_used_as_far_as_denoise_says(
    engine: SdCppEngine, job: Any, saved: Any, plain: Image.Image
) -> None:
    inputs = {"image": saved(gradient())}
    far, near = (
        picture_of(engine.run(job(inputs=inputs, steps=2, denoise=denoise, ext="png"))) for denoise in (0.9, 0.2)
    )
    assert far.tobytes() != near.tobytes()
    assert plain.tobytes() not in (far.tobytes(), near.tobytes())


def test_only_the_white_of_a_mask_is_painted(engine: SdCppEngine, job: Any, saved: Any) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    inputs = {"image": saved(gradient(), "image"), "mask": saved(mask, "mask")}
    made = np.asarray(picture_of(engine.run(job(inputs=inputs))))
    start = np.asarray(gradient())
    assert np.array_equal(made[:, :32], start[:, :32])
    assert np.abs(made[:, 32:].astype(int) - start[:, 32:]).mean() > 5


def test_a_size_between_the_multiples_is_given_exactly(engine: SdCppEngine, job: Any, plain: Image.Image) -> None:
    made = picture_of(engine.run(job(prompt="a cup", width=50, height=31)))
    assert made.tobytes() == plain.crop((7, 16, 57, 47)).tobytes()


def test_a_lora_changes_the_picture_and_leaves_no_trace(
    engine: SdCppEngine, job: Any, loaded: Any, plain: Image.Image
) -> None:
    seen: list[tuple[int, int, str]] = []
    made = engine.run(job(prompt="a cup<lora:twist:1>", on_progress=lambda *step: seen.append(step[:3])))
    assert picture_of(made).tobytes() != plain.tobytes()
    assert seen == [(0, 1, "sample"), (1, 1, "sample")]
    assert loaded.context.picture(ORDER).tobytes() == plain.tobytes()


def test_a_lora_that_has_been_cut_is_named_and_not_left_out(loaded: Any, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes((weights / "twist.gguf").read_bytes()[:100])
    with pytest.raises(EngineError, match="a LoRA could not be used") as error:
        loaded.context.picture(replace(ORDER, loras=[Lora(tmp_path / "broken.gguf", 1.0)]))
    assert not error.value.retryable
    assert str(tmp_path) not in str(error.value)


def test_a_cancelled_job_ends_when_the_library_returns_and_makes_nothing(engine: SdCppEngine, job: Any) -> None:
    made = job(on_progress=lambda *step: made._cancel.set())
    with pytest.raises(Cancelled):
        engine.run(made)


def test_a_job_that_is_cancelled_already_is_not_begun(engine: SdCppEngine, job: Any, seen: Any) -> None:
    made = job()
    made._cancel.set()
    with pytest.raises(Cancelled):
        engine.run(made)
    assert seen == []


def test_what_a_listener_raises_comes_out_of_the_call(loaded: Any) -> None:
    def stumble(step: int, steps: int) -> None:
        raise LookupError(step)

    with pytest.raises(LookupError):
        loaded.context.picture(ORDER, on_step=stumble)


def test_memory_that_does_not_suffice_is_named_and_the_model_goes_on(weights: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from studio_worker import OutOfMemory
from studio_worker_sdcpp.library import Context
from studio_worker_sdcpp.order import Order
from studio_worker_sdcpp.prompt import Lora
context = Context({"model": Path(sys.argv[1])}, n_threads=1)
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000, limits[1]))
order = dict(prompt="a cup", seed=1, steps=1, cfg_scale=1.0)
try:
    context.picture(Order(width=2048, height=2048, **order))
except OutOfMemory as error:
    print(error.retryable, error)
resource.setrlimit(resource.RLIMIT_AS, limits)
print(context.picture(Order(width=64, height=64, **order)).size)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, weights / "sdxs.gguf"], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("True stable-diffusion.cpp made nothing: out of memory: ")
    assert second == "(64, 64)"


@pytest.mark.parametrize(
    ("size", "why"),
    [(3_000_000, "read tensor data failed"), (100, "exceeds remaining file size"), (24, "could not be loaded")],
)
def test_a_checkpoint_that_has_been_cut_is_refused_for_good(
    engine: SdCppEngine, weights: Path, tmp_path: Path, size: int, why: str
) -> None:
    with (weights / "sdxs.gguf").open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(size))
    with pytest.raises(EngineError, match=why) as error:
        engine.load(ModelFiles(id="cut", files={"model": [tmp_path / "cut.gguf"]}))
    assert not error.value.retryable
    assert str(tmp_path) not in str(error.value)


def test_a_lora_in_the_place_of_a_model_is_refused(engine: SdCppEngine, weights: Path) -> None:
    with pytest.raises(EngineError, match="the model could not be loaded"):
        engine.load(ModelFiles(id="twist", files={"model": [weights / "twist.gguf"]}))


def test_a_part_that_the_library_cannot_read_is_not_left_out_silently(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "ae.gguf").write_bytes(b"<html>")
    with pytest.raises(EngineError, match=r"loading vae from 'ae\.gguf' failed"):
        Context({"model": weights / "sdxs.gguf", "vae": tmp_path / "ae.gguf"}, n_threads=1)


def test_an_unloaded_model_gives_its_memory_back(engine: SdCppEngine, model: ModelFiles) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    other = engine.load(replace(model, id="other"))
    assert resident() - before > 300_000_000
    engine.unload(other)
    engine.unload(other)
    assert resident() - before < 150_000_000


def test_a_model_of_pictures_makes_no_films(engine: SdCppEngine, job: Any) -> None:
    with pytest.raises(UnsupportedTask, match="the model sdxs makes pictures, not videos"):
        engine.run(job(task=VideoTask(prompt="waves")))


def test_a_task_of_another_kind_is_refused(engine: SdCppEngine, job: Any) -> None:
    with pytest.raises(UnsupportedTask, match="not audio_stt"):
        engine.run(job(task=SttTask(input_url="https://files.example/a.wav")))


@pytest.mark.parametrize(
    ("role", "field"), [("image", "initImageUrl"), ("mask", "maskUrl"), ("ref_image", "refImageUrl")]
)
def test_an_input_that_is_no_picture_is_named(
    engine: SdCppEngine, job: Any, seen: Any, tmp_path: Path, role: str, field: str
) -> None:
    (tmp_path / "bad").write_bytes(b"<svg/>")
    with pytest.raises(BadInput, match=rf"^task\.{field}: not a picture"):
        engine.run(job(inputs={role: tmp_path / "bad"}))
    assert seen == []


def test_an_estimate_counts_every_file_and_the_work(engine: SdCppEngine, model: ModelFiles, weights: Path) -> None:
    size = sum((weights / name).stat().st_size for name in ("sdxs.gguf", "twist.gguf"))
    assert engine.estimate(model).ram_bytes == size + 1_500_000_000


@pytest.mark.parametrize(
    ("kind", "offload", "in_ram", "in_vram"), [("cuda", None, False, True), ("vulkan", True, True, False)]
)
def test_on_a_gpu_the_estimate_says_where_the_weights_are(
    engine: SdCppEngine,
    model: ModelFiles,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    offload: bool | None,
    in_ram: bool,
    in_vram: bool,
) -> None:
    monkeypatch.setattr("studio_worker_sdcpp.library.backend", lambda: kind)
    files = {"model": model.files["model"]}
    found = engine.estimate(replace(model, files=files, options=LoadOptions(offload_to_cpu=offload)))
    size = model.files["model"][0].stat().st_size
    assert (found.ram_bytes >= size and in_ram) or (found.ram_bytes == 500_000_000 and not in_ram)
    assert found.vram_bytes == (size if in_vram else size // 2) + 1_500_000_000


@pytest.mark.parametrize(
    ("device", "built_for"),
    [
        (None, "cpu"),
        ("", "cuda"),
        ("cpu", "cpu"),
        ("cuda", "cuda"),
        ("CUDA:0", "cuda"),
        ("mps", "metal"),
        ("cuda:0", "vulkan"),
    ],
)
def test_the_device_that_the_library_was_built_for_is_accepted(device: str | None, built_for: str) -> None:
    check_device(device, built_for)


@pytest.mark.parametrize(
    ("device", "built_for", "says"),
    [
        ("cuda:0", "cpu", "is built for cpu here and cannot use the device cuda:0"),
        ("cpu", "cuda", "is built for cuda here"),
        ("cuda:1", "cuda", "start the worker with CUDA_VISIBLE_DEVICES=1"),
        ("vulkan:2", "vulkan", "GGML_VK_VISIBLE_DEVICES=2"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused_with_what_to_do(device: str, built_for: str, says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        check_device(device, built_for)
    assert error.value.retryable


def test_a_job_for_a_gpu_is_not_run_on_the_cpu(engine: SdCppEngine, model: ModelFiles) -> None:
    if backend() != "cpu":
        model = replace(model, options=LoadOptions(device="cpu"))
    with pytest.raises(EngineError, match="cannot use the device"):
        engine.load(replace(model, options=LoadOptions(device="cuda" if backend() == "cpu" else "cpu")))
